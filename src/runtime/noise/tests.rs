use tokio::io::duplex;

use super::*;

fn random() -> Identity {
    Identity::from_secret(rand::random())
}

#[tokio::test]
async fn both_learn_who_the_other_is_and_read_no_further() {
    let (one, other) = (random(), random());
    // Room for less than a message, so that each comes in pieces.
    let (mut near, mut far) = duplex(10);
    let dialling = async {
        let session = initiate(&mut near, &one, Some(other.id())).await.unwrap();
        near.write_all(b"more").await.unwrap();
        session
    };
    let answering = async {
        let session = respond(&mut far, &other).await.unwrap();
        let mut more = [0; 4];
        far.read_exact(&mut more).await.unwrap();
        assert_eq!(&more, b"more");
        session
    };
    let (dialled, answered) = tokio::join!(dialling, answering);
    assert_eq!((dialled.peer, answered.peer), (other.id(), one.id()));
}

#[tokio::test]
async fn an_initiator_that_meets_the_wrong_id_leaves_before_it_is_known() {
    let (own, there, expected) = (random(), random(), random().id());
    let (mut near, mut far) = duplex(1_024);
    let asking = async {
        let result = initiate(&mut near, &own, Some(expected)).await;
        drop(near);
        result.unwrap_err()
    };
    let (asked, answered) = tokio::join!(asking, respond(&mut far, &there));
    assert!(matches!(asked, ConnectError::Handshake(HandshakeError::WrongId { got, .. }) if got == there.id()));
    assert!(matches!(answered, Err(ConnectError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof));
}

#[tokio::test]
async fn a_stream_that_ends_is_no_handshake() {
    for length in [0, 31, 32, 95] {
        let (mut here, mut there) = duplex(1_024);
        here.write_all(&vec![9; length]).await.unwrap();
        here.shutdown().await.unwrap();
        let error = respond(&mut there, &random()).await.unwrap_err();
        assert!(matches!(error, ConnectError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof), "{length}");
    }
}
