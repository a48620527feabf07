use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use str0m::ice::{StunMessageBuilder, TransId};

use super::*;

/// A page, as the door sees one.
struct Page {
    provider: CryptoProvider,
    source: SocketAddr,
    own: String,
    password: String,
}

impl Page {
    fn new(number: u32, source: SocketAddr) -> Self {
        let password = format!("{number:0>24}");
        let own = format!("1{}{password}", STANDARD_NO_PAD.encode([7; 32]));
        Self { provider: str0m::crypto::from_feature_flags(), source, own, password }
    }

    fn signed(&self, message: str0m::ice::StunMessage<'_>, password: &str) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        let hmac = |key: &[u8], parts: &[&[u8]]| self.provider.sha1_hmac_provider.sha1_hmac(key, parts);
        let length = message.to_bytes(Some(password.as_bytes()), &mut bytes, hmac).unwrap();
        bytes.truncate(length);
        bytes
    }

    fn request(&self, nominates: bool) -> Vec<u8> {
        let username = format!("{}:page", self.own);
        let builder = StunMessageBuilder::new().binding().request().username(&username).prio(1);
        let builder = if nominates { builder.use_candidate() } else { builder };
        self.signed(builder.ice_controlling(1).build(TransId::new()), &self.own)
    }

    /// The answer to the node's check, if the answers hold one.
    fn answer(&self, answers: &[Vec<u8>]) -> Option<Vec<u8>> {
        let asked = str0m::ice::StunMessage::parse(answers.get(1)?).unwrap();
        assert_eq!(asked.split_username(), Some(("page", self.own.as_str())));
        let reply = str0m::ice::StunMessage::binding_reply(asked.trans_id(), "192.0.2.9:1".parse().unwrap());
        Some(self.signed(reply, &self.password))
    }
}

fn source(number: u32) -> SocketAddr {
    let [_, b, c, d] = number.to_be_bytes();
    SocketAddr::from(([10 + b, c, d, 1], 4_000))
}

fn hello() -> Vec<u8> {
    let mut record = vec![22, 0xfe, 0xfd];
    record.extend([0; 10]);
    record.push(1);
    record
}

struct Scene {
    door: Door,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        Self { door: Door::new(str0m::crypto::from_feature_flags(), now), now }
    }

    fn receive(&mut self, page: &Page, bytes: &[u8]) -> Step {
        self.door.receive(self.now, page.source, bytes, |_| false)
    }

    fn answers(&mut self, page: &Page, nominates: bool) -> Vec<Vec<u8>> {
        match self.receive(page, &page.request(nominates)) {
            Step::Answer(answers) => answers,
            other => panic!("{other:?}"),
        }
    }

    fn is_admitted(&mut self, page: &Page) -> bool {
        matches!(self.receive(page, &hello()), Step::Admit(_))
    }
}

#[test]
fn a_page_that_answers_and_begins_a_handshake_is_admitted() {
    let (mut scene, page) = (Scene::new(), Page::new(1, source(1)));
    assert!(!scene.is_admitted(&page), "nothing is known about it");
    let answers = scene.answers(&page, false);
    assert!(!scene.is_admitted(&page), "it may be elsewhere");
    let reply = page.answer(&answers).unwrap();
    let stranger = Page::new(1, source(2));
    assert!(matches!(scene.receive(&stranger, &reply), Step::Ignore));
    assert!(!scene.is_admitted(&page), "the answer came from elsewhere");
    assert!(matches!(scene.receive(&page, &reply), Step::Ignore));
    assert!(!scene.is_admitted(&page), "it has not chosen the path");
    let request = page.request(true);
    let Step::Answer(answers) = scene.receive(&page, &request) else { panic!("no answer") };
    assert_eq!(answers.len(), 1, "it is not checked again");
    let Step::Admit(visitor) = scene.receive(&page, &hello()) else { panic!("not admitted") };
    assert_eq!((visitor.nomination, visitor.credentials.page_certhash), (request, [7; 32]));
    assert_eq!(scene.door.counts(), (0, 0));
}

#[test]
fn a_forged_answer_proves_nothing() {
    let (mut scene, page) = (Scene::new(), Page::new(1, source(1)));
    let answers = scene.answers(&page, true);
    let liar = Page { password: "x".repeat(24), ..Page::new(1, source(1)) };
    scene.receive(&page, &liar.answer(&answers).unwrap());
    // Of another transaction: what a forger who sees no answers can make up.
    let reply = str0m::ice::StunMessage::binding_reply(TransId::new(), source(1));
    scene.receive(&page, &page.signed(reply, &page.password));
    assert!(!scene.is_admitted(&page));
    // A request with a wrong signature is not answered.
    let unsigned = Page { own: page.own.clone(), ..Page::new(2, source(3)) };
    let username = format!("{}:page", page.own);
    let message = StunMessageBuilder::new().binding().request().username(&username).prio(1).build(TransId::new());
    assert!(matches!(scene.receive(&unsigned, &unsigned.signed(message, "wrong")), Step::Ignore));
    assert_eq!(scene.door.counts(), (1, 0));
}

#[test]
fn floods_with_forged_sources_are_bounded_and_make_no_session() {
    let mut scene = Scene::new();
    for number in 0..3 * MAX_VISITORS as u32 {
        let page = Page::new(number, source(number));
        let (request, answers) = (page.request(true).len(), scene.answers(&page, true));
        let sent: usize = answers.iter().map(Vec::len).sum();
        assert!(sent <= 2 * request, "{sent} bytes for {request}");
        assert!(!scene.is_admitted(&page));
    }
    assert_eq!(scene.door.counts(), (MAX_VISITORS, 0));
    // One host fills its own part only.
    let mut scene = Scene::new();
    let honest = Page::new(1, source(1));
    let answers = scene.answers(&honest, true);
    for number in 0..1_000 {
        let page = Page::new(2 + number, SocketAddr::new(source(2).ip(), 1 + number as u16));
        scene.answers(&page, true);
    }
    assert_eq!(scene.door.counts(), (1 + MAX_FROM_HOST, 0));
    scene.receive(&honest, &honest.answer(&answers).unwrap());
    assert!(scene.is_admitted(&honest));
    // What begins no handshake is forgotten, and that too is bounded.
    for number in 0..2 * MAX_FORGOTTEN as u32 {
        scene.answers(&Page::new(9_000 + number, source(9_000 + number)), true);
        scene.now += PATIENCE / 100;
        scene.door.clean(scene.now);
    }
    let (visitors, forgotten) = scene.door.counts();
    assert!(visitors <= 100 && forgotten <= MAX_FORGOTTEN, "{visitors} {forgotten}");
}

#[test]
fn junk_costs_nothing() {
    let (mut scene, page) = (Scene::new(), Page::new(1, source(1)));
    let long = [page.request(true), vec![0; MAX_REQUEST]].concat();
    for bytes in [&[][..], &[0; 20], &[1; 2_000], &[22; 100], &[23; 100], &[128; 100], &[255; 9], &long] {
        assert!(matches!(scene.receive(&page, bytes), Step::Ignore));
    }
    assert_eq!(scene.door.counts(), (0, 0));
}

#[test]
fn a_page_of_another_life_is_not_answered() {
    let (mut scene, page) = (Scene::new(), Page::new(1, source(1)));
    // The node restarted; the page goes on encrypting to the one before.
    let answers = scene.answers(&page, true);
    scene.receive(&page, &page.answer(&answers).unwrap());
    assert!(matches!(scene.receive(&page, &[23; 100]), Step::Ignore));
    for _ in 0..2 {
        assert!(matches!(scene.receive(&page, &page.request(true)), Step::Ignore));
    }
    assert_eq!(scene.door.counts(), (0, 1));
    // One that sends nothing is found out after a while.
    let silent = Page::new(2, source(2));
    scene.answers(&silent, true);
    scene.now += PATIENCE;
    scene.door.clean(scene.now);
    assert!(matches!(scene.receive(&silent, &silent.request(true)), Step::Ignore));
    // So is one whose session ended, wherever it asks from, until browsers have given up.
    let ended = Credentials::parse(&Page::new(3, source(3)).own, "page").unwrap().session(&scene.door.key);
    scene.door.forget(scene.now, ended);
    let elsewhere = Page::new(3, source(4));
    assert!(matches!(scene.receive(&elsewhere, &elsewhere.request(true)), Step::Ignore));
    scene.now += FORGOTTEN_FOR;
    scene.door.clean(scene.now);
    assert_eq!(scene.door.counts(), (0, 0));
}

#[test]
fn plain_requests_are_answered_up_to_a_rate() {
    const REQUEST: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    let mut scene = Scene::new();
    let answers =
        |scene: &mut Scene, source: SocketAddr| match scene.door.receive(scene.now, source, &REQUEST, |_| false) {
            Step::Answer(answers) => {
                let [answer] = &answers[..] else { panic!("{answers:?}") };
                assert_eq!((answer.len(), &answer[8..20]), (32, &REQUEST[8..]));
                true
            }
            Step::Ignore => false,
            other => panic!("{other:?}"),
        };
    let port = |host: SocketAddr, port| SocketAddr::new(host.ip(), port);
    let count = |scene: &mut Scene, host| (1..=500).filter(|n| answers(scene, port(host, *n))).count() as u64;
    assert_eq!(count(&mut scene, source(1)), REFLECTED_TO_HOST);
    scene.now += Duration::from_secs(1);
    assert_eq!(count(&mut scene, source(1)), 1_000 / HOST_INTERVAL);
    // However many hosts a forger names, all together have no more.
    let of_all: u64 = (2..100).map(|host| count(&mut scene, source(host))).sum();
    assert!((REFLECTED - 100..=REFLECTED).contains(&of_all), "{of_all}");
    assert!(!answers(&mut scene, "127.0.0.1:5".parse().unwrap()));
    scene.now += Duration::from_secs(1);
    assert_eq!(count(&mut scene, "127.0.0.1:5".parse().unwrap()), 500);
    assert_eq!(scene.door.counts(), (0, 0), "nothing is kept of them");
}

#[test]
fn another_path_of_a_page_leads_to_its_session() {
    let (mut scene, page) = (Scene::new(), Page::new(1, source(1)));
    let session = Credentials::parse(&page.own, "page").unwrap().session(&scene.door.key);
    let step = scene.door.receive(scene.now, page.source, &page.request(false), |live| *live == session);
    assert!(matches!(step, Step::Forward(to) if to == session));
    assert_eq!(scene.door.counts(), (0, 0));
}
