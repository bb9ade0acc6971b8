use proptest::prelude::*;

use super::*;

const FIVE: Duration = Duration::from_mins(5);

fn window() -> Window {
    Window::new(FIVE, 100)
}

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn create(ahead: usize, waited: u64) -> QueuePosition {
    QueuePosition {
        delete: false,
        ahead,
        waited: at(waited),
    }
}

const DELETE: QueuePosition = QueuePosition {
    delete: true,
    ahead: 0,
    waited: Duration::ZERO,
};

/// Makes calls at `now` until there is no turn; how many there were.
fn fill(window: &mut Window, place: QueuePosition, now: Duration) -> usize {
    let mut made = 0;
    while window.wait(place, now).is_zero() {
        window.take();
        window.finish(place.delete, None, now);
        made += 1;
    }
    made
}

#[test]
fn deletes_keep_a_tenth_until_creates_have_waited_for_a_tenth_of_the_time() {
    let mut window = window();
    assert_eq!(fill(&mut window, create(0, 0), at(0)), 90);
    assert_eq!(window.wait(DELETE, at(0)), Duration::ZERO);
    assert_eq!(window.wait(create(0, 0), at(0)), at(30));
    assert_eq!(window.wait(create(9, 0), at(0)), at(30));
    assert_eq!(window.wait(create(10, 0), at(0)), at(301));
    assert_eq!(window.wait(create(0, 10), at(10)), at(20));
    assert_eq!(fill(&mut window, create(0, 30), at(30)), 10);
    assert_eq!(window.wait(DELETE, at(30)), at(271));
}

#[test]
fn the_share_stays_where_deletes_need_it() {
    let mut window = window();
    assert_eq!(fill(&mut window, create(0, 0), at(0)), 90);
    for _ in 0..4 {
        window.take();
        window.finish(true, None, at(1));
    }
    assert_eq!(
        fill(&mut window, create(0, 30), at(31)),
        2,
        "four deletes were made, four more have room"
    );
    assert_eq!(fill(&mut window, DELETE, at(31)), 4);
}

#[test]
fn nothing_is_freed_before_the_window_has_passed_since_the_answer() {
    let mut window = window();
    let slow = window.take();
    window.finish(false, None, at(20));
    window.adopt(0, slow, at(20));
    for (now, wait) in [(21, 29), (49, 1), (50, 0)] {
        assert_eq!(
            window.wait(DELETE, at(now)),
            at(wait),
            "tried every half minute"
        );
    }
    window.take();
    window.finish(true, Some(at(200)), at(50));
    assert_eq!(window.wait(DELETE, at(51)), at(199), "a refusal says when");
}

#[test]
fn a_larger_limit_is_learned_from_one_answer() {
    let mut window = window();
    let first = window.take();
    window.finish(false, None, at(0));
    window.adopt(799, first, at(0));
    assert_eq!(window.limit(), 800);
    assert_eq!(fill(&mut window, create(0, 0), at(0)), 719);
}

#[test]
fn calls_beside_an_answer_are_not_given_away_twice() {
    let mut window = window();
    let all: Vec<Reservation> = (0..90).map(|_| window.take()).collect();
    // The one taken last is served in the middle and its answer read last.
    let (last, others) = all.split_last().unwrap();
    for (n, taken) in others.iter().enumerate() {
        window.finish(false, None, at(1));
        let served = if n < 44 { n } else { n + 1 };
        window.adopt(u32::try_from(99 - served).unwrap(), *taken, at(1));
    }
    window.finish(false, None, at(1));
    window.adopt(55, *last, at(1));
    assert_eq!(fill(&mut window, DELETE, at(2)), 10);
}

#[test]
fn what_others_use_is_not_there_and_comes_back_with_an_answer() {
    let mut window = window();
    let taken = window.take();
    window.finish(false, None, at(0));
    window.adopt(19, taken, at(0));
    assert_eq!(fill(&mut window, DELETE, at(0)), 19);
    let probe = window.wait(DELETE, at(0));
    assert_eq!(probe, at(30));
    let taken = window.take();
    window.finish(true, None, at(30));
    window.adopt(60, taken, at(30));
    assert_eq!(fill(&mut window, DELETE, at(30)), 60);
}

/// A server that counts as the emulator does, and one with a bucket that refills.
struct Server {
    sliding: VecDeque<Duration>,
    tokens: f64,
    at: Duration,
}

impl Server {
    fn refuses(&mut self, now: Duration, limit: u32) -> bool {
        while self.sliding.front().is_some_and(|at| *at + FIVE <= now) {
            self.sliding.pop_front();
        }
        let limit = f64::from(limit);
        let refill = now.saturating_sub(self.at).as_secs_f64() * limit / FIVE.as_secs_f64();
        (self.tokens, self.at) = ((self.tokens + refill).min(limit), now);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let full = self.sliding.len() as f64 >= limit;
        self.sliding.push_back(now);
        self.tokens -= 1.0;
        full || self.tokens < -1e-6
    }
}

proptest! {
    /// Whatever comes when, no server of our assumptions ever refuses a call, and nothing waits for ever.
    #[test]
    fn the_server_never_refuses(calls in proptest::collection::vec((0u64..20_000, 0u64..3000, any::<bool>()), 1..600)) {
        let mut window = window();
        let mut server = Server { sliding: VecDeque::new(), tokens: 100.0, at: Duration::ZERO };
        let mut now = Duration::ZERO;
        for (pause, latency, delete) in calls {
            now += Duration::from_millis(pause);
            let asked = now;
            let place = |now: Duration| QueuePosition { delete, ahead: 0, waited: now.saturating_sub(asked) };
            let mut tries = 0;
            loop {
                let wait = window.wait(place(now), now);
                if wait.is_zero() { break; }
                now += wait;
                tries += 1;
                prop_assert!(tries < 20, "still waiting after {:?}", now.saturating_sub(asked));
            }
            let taken = window.take();
            now += Duration::from_millis(latency);
            prop_assert!(!server.refuses(now, 100), "refused at {now:?}");
            now += Duration::from_millis(latency);
            window.finish(delete, None, now);
            let left = u32::try_from(100 - server.sliding.len()).unwrap();
            window.adopt(left, taken, now);
        }
    }
}
