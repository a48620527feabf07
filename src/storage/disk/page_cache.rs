//! Pages that were read lately. A page is read for every key, and reading it again from the file costs a call of the system, a
//! copy and a checksum.
//!
//! Each page has one slot, given by its place, and the page that was read last there has it. So nothing is sorted by age, and
//! readers on several threads hardly ever wait for each other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::extents::Extent;
use super::pages::PAGE_BYTES;

/// The bytes of a page.
pub(super) type PageBytes = Arc<Vec<u8>>;

/// The page that was read last of those with one slot.
type Kept = Option<(Extent, PageBytes)>;

/// The pages, of [`PAGE_BYTES`] at most each.
#[derive(Debug)]
pub(super) struct PageCache {
    slots: Box<[Mutex<Kept>]>,
}

impl PageCache {
    /// A cache of at most so many bytes, but of a page at least.
    pub fn new(bytes: u64) -> Self {
        let slots = (bytes / PAGE_BYTES as u64).max(1);
        Self { slots: (0..slots).map(|_| Mutex::default()).collect() }
    }

    /// The page that was kept for `extent`. Another page with the same place has another checksum, and is not taken for it.
    pub fn get(&self, extent: Extent) -> Option<PageBytes> {
        self.slot(extent).as_ref().filter(|(kept, _)| *kept == extent).map(|(_, page)| page.clone())
    }

    /// Keeps a page, unless it is longer than pages mostly are.
    pub fn keep(&self, extent: Extent, page: &PageBytes) {
        if page.len() <= PAGE_BYTES {
            *self.slot(extent) = Some((extent, page.clone()));
        }
    }

    /// Forgets the page that was kept for this place, where another is to be written: by chance, or on purpose, both could have one
    /// checksum.
    pub fn forget(&self, extent: Extent) {
        self.slot(extent).take_if(|(kept, _)| kept.unit() == extent.unit());
    }

    fn slot(&self, extent: Extent) -> MutexGuard<'_, Kept> {
        // Places are multiples of a page's length often enough for the remainder alone to share few slots: they are mixed first.
        let mixed = u64::from(extent.unit()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let slot = (mixed * self.slots.len() as u64) >> 32;
        self.slots[slot as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
