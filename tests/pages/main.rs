//! The pages that this project serves or ships, in a real browser.

mod browser;
#[cfg(feature = "webrtc")]
mod calls;
#[cfg(feature = "webrtc")]
mod content;
mod explorer;
mod history;
#[cfg(feature = "webrtc")]
mod liar;
#[cfg(feature = "webrtc")]
mod liars;
#[cfg(feature = "webrtc")]
mod light;
#[cfg(feature = "webrtc")]
mod links;
mod owner;
#[path = "../process/mod.rs"]
mod process;
#[cfg(feature = "webrtc")]
mod relay;
mod site;
mod verify_page;
#[cfg(feature = "webrtc")]
mod wallet;
