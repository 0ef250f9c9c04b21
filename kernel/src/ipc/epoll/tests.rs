//! Triggering as epoll(7) describes it, alone and against a model.

use super::*;
use crate::fs::file::open;
use crate::fs::stat::Stat;
use core::sync::atomic::AtomicU32;
use std::collections::{BTreeMap, BTreeSet};
use std::vec;

/// A file that is as ready as the test says.
#[derive(Default)]
struct Fake {
    ready: AtomicU32,
    notifier: Notifier,
}

impl File for Fake {
    fn poll(&self) -> u32 {
        self.ready.load(Ordering::Relaxed)
    }
    fn notifier(&self) -> Option<&Notifier> {
        Some(&self.notifier)
    }
    fn stat(&self) -> Result<Stat> {
        Err(Errno::EBADF)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Fake {
    /// `ready` is the readiness from now on, announced as a change of `news`.
    fn set(&self, ready: u32, news: u32) {
        self.ready.store(ready, Ordering::Relaxed);
        self.notifier.notify(news);
    }
}

fn fake() -> (Arc<Fake>, Arc<OpenFile>) {
    let file = Arc::new(Fake::default());
    (file.clone(), OpenFile::new(file, open::RDWR))
}

fn opened(epoll: &Arc<Epoll>) -> Arc<OpenFile> {
    OpenFile::new(epoll.clone(), open::RDWR)
}

/// One wait without blocking: events and data, in the order reported.
fn wait(epoll: &Epoll, max: usize) -> Vec<(u32, u64)> {
    let mut found = vec![];
    epoll
        .collect(max, |events, data| {
            found.push((events, data));
            Ok(())
        })
        .unwrap();
    found
}

/// Counts how often it was woken.
#[derive(Default)]
struct Sleeper(AtomicU32);

impl Observer for Sleeper {
    fn notified(&self, _events: u32, _key: u64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

const IN: u32 = events::IN;
const OUT: u32 = events::OUT;

#[test]
fn level_triggered_items_are_reported_as_long_as_they_are_ready() {
    let epoll = Epoll::new();
    let (file, open) = fake();
    epoll.add(3, &open, IN, 7).unwrap();
    assert_eq!(wait(&epoll, 9), []);
    file.set(IN | OUT, IN);
    assert_eq!(wait(&epoll, 9), [(IN, 7)]);
    assert_eq!(wait(&epoll, 9), [(IN, 7)]);
    file.set(OUT, OUT);
    assert_eq!(wait(&epoll, 9), []);
}

#[test]
fn edge_triggered_items_are_reported_once_for_each_change() {
    let epoll = Epoll::new();
    let (file, open) = fake();
    file.set(IN, IN);
    epoll.add(3, &open, IN | OUT | behaviour::EDGE, 7).unwrap();
    assert_eq!(wait(&epoll, 9), [(IN, 7)], "ready when added");
    assert_eq!(wait(&epoll, 9), []);
    file.set(IN, IN);
    assert_eq!(
        wait(&epoll, 9),
        [(IN, 7)],
        "more came while it was readable"
    );
    file.set(IN | OUT, OUT);
    assert_eq!(wait(&epoll, 9), [(IN | OUT, 7)]);
    epoll.modify(3, &open, IN | behaviour::EDGE, 8).unwrap();
    assert_eq!(wait(&epoll, 9), [(IN, 8)], "ready when modified");
    assert_eq!(wait(&epoll, 9), []);
}

#[test]
fn one_shot_items_sleep_until_they_are_modified() {
    let epoll = Epoll::new();
    let (file, open) = fake();
    epoll.add(3, &open, IN | behaviour::ONESHOT, 7).unwrap();
    file.set(IN, IN);
    assert_eq!(wait(&epoll, 9), [(IN, 7)]);
    file.set(IN | events::HUP, IN | events::HUP);
    assert_eq!(wait(&epoll, 9), [], "not even a hang-up is reported");
    epoll.modify(3, &open, IN | behaviour::ONESHOT, 7).unwrap();
    assert_eq!(wait(&epoll, 9), [(IN | events::HUP, 7)]);
}

#[test]
fn errors_and_hang_ups_are_reported_unasked() {
    let epoll = Epoll::new();
    let (file, open) = fake();
    epoll.add(3, &open, 0, 7).unwrap();
    file.set(IN | events::HUP | events::ERR | events::RDHUP, events::HUP);
    assert_eq!(wait(&epoll, 9), [(events::HUP | events::ERR, 7)]);
}

#[test]
fn mistakes_get_the_errors_of_the_manual() {
    let epoll = Epoll::new();
    let (_file, open) = fake();
    let own = opened(&epoll);
    assert_eq!(epoll.add(3, &own, IN, 0), Err(Errno::EINVAL));
    assert_eq!(epoll.modify(3, &open, IN, 0), Err(Errno::ENOENT));
    assert_eq!(epoll.delete(3, &open), Err(Errno::ENOENT));
    epoll.add(3, &open, IN, 0).unwrap();
    assert_eq!(epoll.add(3, &open, IN, 0), Err(Errno::EEXIST));
    epoll
        .add(4, &open, IN, 0)
        .expect("a duplicate descriptor is another item");
    assert_eq!(
        epoll.modify(3, &open, IN | behaviour::EXCLUSIVE, 0),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        epoll.add(5, &open, IN | behaviour::EXCLUSIVE | behaviour::ONESHOT, 0),
        Err(Errno::EINVAL)
    );
    epoll.add(5, &open, IN | behaviour::EXCLUSIVE, 0).unwrap();
    assert_eq!(epoll.modify(5, &open, IN, 0), Err(Errno::EINVAL));
}

#[test]
fn closing_a_file_removes_its_items() {
    let epoll = Epoll::new();
    let (file, open) = fake();
    epoll.add(3, &open, IN, 7).unwrap();
    file.set(IN, IN);
    drop(open);
    assert_eq!(epoll.poll(), 0);
    assert_eq!(wait(&epoll, 9), []);
    assert!(
        !file.notifier.is_observed(),
        "the set has taken itself out of the file's notifier"
    );
    let (other, open) = fake();
    other.set(IN, IN);
    epoll.add(3, &open, IN, 8).unwrap();
    assert_eq!(wait(&epoll, 9), [(IN, 8)]);
}

#[test]
fn a_descriptor_used_again_while_a_duplicate_keeps_the_old_file_open() {
    let epoll = Epoll::new();
    let (old, old_open) = fake();
    let (new, new_open) = fake();
    epoll.add(3, &old_open, IN, 1).unwrap();
    epoll.add(3, &new_open, IN, 2).unwrap();
    old.set(IN, IN);
    new.set(IN, IN);
    assert_eq!(wait(&epoll, 9), [(IN, 1), (IN, 2)]);
    epoll.delete(3, &new_open).unwrap();
    assert_eq!(wait(&epoll, 9), [(IN, 1)]);
    epoll.delete(3, &old_open).unwrap();
    assert_eq!(wait(&epoll, 9), []);
}

#[test]
fn closing_the_set_lets_go_of_the_files() {
    let epoll = Epoll::new();
    let own = opened(&epoll);
    let (file, open) = fake();
    epoll.add(3, &open, IN, 7).unwrap();
    let weak = Arc::downgrade(&epoll);
    drop((epoll, own));
    assert!(!file.notifier.is_observed());
    assert!(weak.upgrade().is_none(), "nothing keeps the set alive");
}

#[test]
fn a_small_buffer_gets_every_ready_item_in_turn() {
    let epoll = Epoll::new();
    let files: Vec<_> = (0..5)
        .map(|number| {
            let (file, open) = fake();
            epoll.add(number, &open, IN, number as u64).unwrap();
            file.set(IN, IN);
            (file, open)
        })
        .collect();
    let order: Vec<u64> = (0..5)
        .flat_map(|_| wait(&epoll, 2))
        .map(|(_, data)| data)
        .collect();
    assert_eq!(order, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
    drop(files);
}

#[test]
fn an_event_that_could_not_be_stored_is_not_lost() {
    let epoll = Epoll::new();
    let (file, open) = fake();
    epoll
        .add(3, &open, IN | behaviour::EDGE | behaviour::ONESHOT, 7)
        .unwrap();
    file.set(IN, IN);
    assert_eq!(
        epoll.collect(9, |_, _| Err(Errno::EFAULT)),
        Err(Errno::EFAULT)
    );
    assert_eq!(wait(&epoll, 9), [(IN, 7)]);
}

#[test]
fn one_event_wakes_one_thread_and_leftovers_wake_the_next() {
    let epoll = Epoll::new();
    let sleepers = [Arc::new(Sleeper::default()), Arc::new(Sleeper::default())];
    let woken = || {
        sleepers
            .each_ref()
            .map(|sleeper| sleeper.0.load(Ordering::Relaxed))
    };
    let mut places: Vec<_> = sleepers
        .iter()
        .map(|sleeper| epoll.wait(sleeper.clone()).unwrap())
        .collect();
    let (first, first_open) = fake();
    epoll.add(3, &first_open, IN | behaviour::EDGE, 1).unwrap();
    first.set(IN, IN);
    assert_eq!(woken(), [1, 0]);
    first.set(IN, IN);
    assert_eq!(woken(), [1, 0], "the same item again is no new work");
    let (second, second_open) = fake();
    second.set(IN, IN);
    epoll.add(4, &second_open, IN | behaviour::EDGE, 2).unwrap();
    assert_eq!(woken(), [1, 1], "an item added while threads wait");
    let leaving = places.remove(0);
    let mut count = 0;
    let taken = leaving.collect(1, |_, _| {
        count += 1;
        Ok(())
    });
    assert_eq!((taken, count), (Ok(1), 1));
    places[0].collect(0, |_, _| Ok(())).unwrap();
    drop(leaving);
    assert_eq!(woken(), [1, 2], "who leaves passes the rest on");
}

#[test]
fn sets_can_watch_sets_but_not_in_circles() {
    let (outer, inner) = (Epoll::new(), Epoll::new());
    let (outer_open, inner_open) = (opened(&outer), opened(&inner));
    let (file, open) = fake();
    outer.add(10, &inner_open, IN | behaviour::EDGE, 1).unwrap();
    assert_eq!(inner.add(11, &outer_open, IN, 2), Err(Errno::ELOOP));
    inner.add(3, &open, IN, 3).unwrap();
    assert_eq!(wait(&outer, 9), []);
    file.set(IN, IN);
    assert_eq!(wait(&outer, 9), [(IN, 1)]);
    assert_eq!(wait(&outer, 9), [], "an edge on the set");
    assert_eq!(wait(&inner, 9), [(IN, 3)]);
    file.set(IN, IN);
    assert_eq!(
        wait(&outer, 9),
        [(IN, 1)],
        "a second event is a second edge"
    );
}

#[test]
fn chains_of_sets_are_limited_from_both_ends() {
    let sets: Vec<_> = (0..6).map(|_| Epoll::new()).collect();
    let files: Vec<_> = sets.iter().map(opened).collect();
    for at in 0..4 {
        sets[at].add(1, &files[at + 1], IN, 0).unwrap();
    }
    assert_eq!(sets[4].add(1, &files[5], IN, 0), Err(Errno::ELOOP));
    assert_eq!(sets[5].add(1, &files[0], IN, 0), Err(Errno::ELOOP));
    sets[0].delete(1, &files[1]).unwrap();
    sets[4].add(1, &files[5], IN, 0).unwrap();
}

/// What the manual promises about one item.
struct Model {
    wanted: u32,
    edge: bool,
    one_shot: bool,
    enabled: bool,
    /// A wanted event was announced since the item was last looked at.
    news: bool,
}

#[test]
fn random_histories_agree_with_the_model() {
    const FILES: usize = 6;
    let mut seed = 11u32;
    let mut next = move |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 9) as usize % below
    };
    let epoll = Epoll::new();
    let files: Vec<_> = (0..FILES).map(|_| fake()).collect();
    let mut model: BTreeMap<usize, Model> = BTreeMap::new();
    for _ in 0..60_000 {
        let at = next(FILES);
        let (file, open) = &files[at];
        let bits = [0, IN, OUT, IN | OUT, IN | events::HUP][next(5)];
        match next(8) {
            0 | 1 => {
                let wanted = [0, IN, OUT, IN | OUT][next(4)];
                let (edge, one_shot) = (next(2) == 0, next(3) == 0);
                let flags = if edge { behaviour::EDGE } else { 0 }
                    | if one_shot { behaviour::ONESHOT } else { 0 };
                let known = model.contains_key(&at);
                let result = if next(2) == 0 {
                    assert_eq!(
                        epoll
                            .add(at as i32, open, wanted | flags, at as u64)
                            .is_ok(),
                        !known
                    );
                    !known
                } else {
                    assert_eq!(
                        epoll
                            .modify(at as i32, open, wanted | flags, at as u64)
                            .is_ok(),
                        known
                    );
                    known
                };
                if result {
                    let wanted = wanted | ALWAYS;
                    // Changing an item does not take away what was announced before.
                    let before = model.get(&at).is_some_and(|item| item.news);
                    let news = before || file.poll() & wanted != 0;
                    model.insert(
                        at,
                        Model {
                            wanted,
                            edge,
                            one_shot,
                            enabled: true,
                            news,
                        },
                    );
                }
            }
            2 => assert_eq!(
                epoll.delete(at as i32, open).is_ok(),
                model.remove(&at).is_some()
            ),
            3 | 4 => {
                file.set(bits, bits);
                if let Some(item) = model.get_mut(&at) {
                    item.news |= item.enabled && bits & item.wanted != 0;
                }
            }
            5 => file.ready.store(0, Ordering::Relaxed),
            _ => check_wait(&epoll, &files, &mut model),
        }
    }
}

fn check_wait(
    epoll: &Epoll,
    files: &[(Arc<Fake>, Arc<OpenFile>)],
    model: &mut BTreeMap<usize, Model>,
) {
    let mut expected = BTreeSet::new();
    for (at, item) in model.iter_mut() {
        let ready = files[*at].0.poll() & item.wanted;
        if item.enabled && item.news && ready != 0 {
            expected.insert((ready, *at as u64));
            item.enabled = !item.one_shot;
            item.news = !item.edge && !item.one_shot;
        } else {
            item.news = false;
        }
    }
    let found: BTreeSet<_> = wait(epoll, 64).into_iter().collect();
    assert_eq!(found, expected);
}
