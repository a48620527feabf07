//! A task that wakes itself goes on at once.
//!
//! hyper's connection wakes its own task for each request with a body. tokio would put that task at the end of its thread's queue
//! and wake another thread to look for work, which finds none: a needless wake-up for each call.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Polls in a row, at most, before other tasks have their turn.
const MAX_POLLS: usize = 8;

/// Completes as `future` does, which is polled again at once if it was woken while it was polled.
pub(super) async fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let stage = Arc::new(Shared::default());
    let waker = Waker::from(Arc::clone(&stage));
    poll_fn(|cx| {
        for _ in 0..MAX_POLLS {
            *stage.lock() = Stage::Polled;
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(output);
            }
            let mut stage = stage.lock();
            if let Stage::Polled = *stage {
                *stage = Stage::Waiting(cx.waker().clone());
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[derive(Default)]
enum Stage {
    /// It is being polled.
    #[default]
    Polled,
    /// It was woken meanwhile.
    Woken,
    /// It waits, and this wakes its task.
    Waiting(Waker),
}

#[derive(Default)]
struct Shared(Mutex<Stage>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        let mut stage = self.lock();
        match &*stage {
            Stage::Waiting(task) => {
                let task = task.clone();
                drop(stage);
                task.wake();
            }
            Stage::Polled => *stage = Stage::Woken,
            Stage::Woken => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often a future that wakes itself `times` times is polled by one poll of its task, and how often it wakes that.
    fn polled_and_woken(times: usize) -> (usize, usize) {
        let (polls, woken) = (Cell::new(0), Arc::new(Count::default()));
        let future = pin!(at_once(poll_fn(|cx| {
            polls.update(|polls| polls + 1);
            if polls.get() <= times {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        })));
        assert!(future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(&woken)))).is_pending());
        (polls.get(), woken.0.load(Ordering::Relaxed))
    }

    #[test]
    fn a_future_that_wakes_itself_does_not_wake_its_task() {
        assert_eq!(polled_and_woken(0), (1, 0));
        assert_eq!(polled_and_woken(1), (2, 0));
        assert_eq!(polled_and_woken(MAX_POLLS - 1), (MAX_POLLS, 0));
        assert_eq!(polled_and_woken(MAX_POLLS), (MAX_POLLS, 1), "others have their turn");
    }

    #[test]
    fn a_future_that_waits_is_woken_by_others() {
        let given = Mutex::new(None);
        let woken = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&woken));
        let mut future = pin!(at_once(poll_fn(|cx| {
            let before = given.lock().unwrap().replace(cx.waker().clone());
            if before.is_some() { Poll::Ready(7) } else { Poll::Pending }
        })));
        assert!(future.as_mut().poll(&mut Context::from_waker(&task)).is_pending());
        let other: Waker = given.lock().unwrap().clone().unwrap();
        std::thread::spawn(move || other.wake()).join().unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(future.poll(&mut Context::from_waker(&task)), Poll::Ready(7));
    }
}
