//! The pool that a plan's steps are split over: the caller works too, workers spin briefly and then park, a run allocates nothing.

mod shares;

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use shares::{MOST_SHARES, Shares, Stretches};

/// A pool of `count` threads, the caller among them.
///
/// A thread takes the part that is its own and then what others have not begun, so a worker that the system has not woken yet is never
/// waited for. Work that may be cut anywhere is shared by how quick the threads were lately ([`Threads::share`]): cores differ, by
/// their kind or by what else runs on them. Results may not depend on where work is cut, nor on which thread computes a part; then
/// they are the same bits in every run.
pub struct Threads {
    count: usize,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    shares: Mutex<Shares>,
}

/// How long a worker looks for the next run before it parks.
const SPIN: Duration = Duration::from_micros(60);
/// Work below this many multiply-adds (or as much time's worth of memory traffic) is not worth a second thread. Miri looks for
/// races in small work.
const GRAIN: usize = if cfg!(miri) { 1 << 6 } else { 1 << 17 };
/// Threads hand no less of it to each other.
const PIECE: usize = 8 * GRAIN;

type Task = dyn Fn(usize) + Sync;

/// State of the run under way, in `gate`: how many workers are inside (low 32 bits), whether it is open, and which run it is.
const INSIDE: u64 = (1 << 32) - 1;
const OPEN: u64 = 1 << 32;
const SHUT: u64 = 1 << 33;
const EPOCH: u64 = 1 << 34;

struct Shared {
    gate: AtomicU64,
    /// Which of the first parts, one for each thread, somebody has begun.
    begun: Vec<AtomicBool>,
    /// The next of all others.
    next: AtomicUsize,
    parts: AtomicUsize,
    task: UnsafeCell<Option<*const Task>>,
    /// Held by the caller for the length of a run.
    turn: Mutex<()>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    parked: Vec<AtomicBool>,
}

// SAFETY: `task` is written only while the gate is closed and nobody is inside (`Threads::run`), and read only from inside.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `task` is to a `Sync` closure that outlives the run.
unsafe impl Send for Shared {}

thread_local! {
    static IN_PART: Cell<bool> = const { Cell::new(false) };
}

impl Threads {
    /// A pool of `count` threads (at least one: the caller).
    pub fn new(count: usize) -> Threads {
        let count = count.max(1);
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            begun: (0..count).map(|_| AtomicBool::new(false)).collect(),
            next: AtomicUsize::new(0),
            parts: AtomicUsize::new(0),
            task: UnsafeCell::new(None),
            turn: Mutex::new(()),
            panic: Mutex::new(None),
            parked: (1..count).map(|_| AtomicBool::new(false)).collect(),
        });
        let start = |index: usize| {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name(format!("squeeze-{}", index + 1))
                .spawn(move || shared.serve(index))
                .ok()
        };
        // A machine that refuses a thread still computes: the parts are taken by those that are there.
        let workers: Vec<_> = (0..count - 1).map_while(start).collect();
        let count = workers.len() + 1;
        Threads {
            count,
            shared,
            workers,
            shares: Mutex::new(Shares::even(count)),
        }
    }

    /// How many threads work, the caller among them.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Into how many parts to split work of so many multiply-adds that has at most `most` independent pieces: one when a second
    /// thread would not gain.
    pub fn parts(&self, work: usize, most: usize) -> usize {
        (work / GRAIN).clamp(1, self.count).min(most.max(1))
    }

    /// The least of `count` that threads should hand to each other in work of so many multiply-adds: what takes about ten microseconds.
    pub fn least(&self, work: usize, count: usize) -> usize {
        count.div_ceil((work / PIECE).max(1))
    }

    /// Whether the calling thread computes a part: a run of its own would happen in this thread alone.
    pub(crate) fn is_in_part() -> bool {
        IN_PART.get()
    }

    /// Calls `part(0)` .. `part(parts - 1)`, each once, and returns when all are done. A run from inside a part, or while another caller's run is under way, happens in the calling thread.
    ///
    /// # Panics
    /// When a part does, after the parts under way have ended.
    pub fn run(&self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        if parts <= 1 || self.workers.is_empty() || IN_PART.get() {
            return (0..parts).for_each(part);
        }
        let turn = match self.shared.turn.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
            Err(TryLockError::WouldBlock) => return (0..parts).for_each(part),
        };
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; this function does not return before every worker is out.
        let task: *const Task =
            unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync), *const Task>(part) };
        // SAFETY: the gate is closed and nobody is inside: the last run left it so, and `turn` keeps other callers away.
        unsafe { *shared.task.get() = Some(task) };
        shared.parts.store(parts, Ordering::Relaxed);
        let begun = &shared.begun;
        begun
            .iter()
            .for_each(|begun| begun.store(false, Ordering::Relaxed));
        shared.next.store(begun.len(), Ordering::Relaxed);
        let epoch = shared.gate.load(Ordering::Relaxed) & !(OPEN | INSIDE);
        shared
            .gate
            .store(epoch.wrapping_add(EPOCH) & !SHUT | OPEN, Ordering::SeqCst);
        for index in 0..self.workers.len().min(parts - 1) {
            if shared.parked[index].load(Ordering::SeqCst) {
                self.workers[index].thread().unpark();
            }
        }
        shared.work(part, 0);
        shared.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut looks = 0u32;
        while shared.gate.load(Ordering::Acquire) & INSIDE != 0 {
            looks += 1;
            if looks.is_multiple_of(256) {
                thread::yield_now()
            } else {
                std::hint::spin_loop()
            }
        }
        let panic = shared
            .panic
            .lock()
            .unwrap_or_else(|lock| lock.into_inner())
            .take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Cuts `0..count` into ranges and calls `part(index, range)` for each, where an index, below `parts`, stands for one thread at a time.
    /// Each thread has a stretch as long as it was quick lately, most of which it takes in one range; what a thread that is
    /// late has not begun goes to the others, in ranges of about `least`.
    ///
    /// # Panics
    /// As for [`Threads::run`].
    pub fn share(
        &self,
        count: usize,
        (parts, least): (usize, usize),
        part: &(dyn Fn(usize, Range<usize>) + Sync),
    ) {
        let is_shared = parts == self.count && (2..=MOST_SHARES).contains(&parts);
        let Some(end) = u32::try_from(count)
            .ok()
            .filter(|_| is_shared && !IN_PART.get())
        else {
            return self.run(parts, &|index| part(index, even(count, parts, index)));
        };
        let lock = || self.shares.lock().unwrap_or_else(|lock| lock.into_inner());
        let stretches = Stretches::new(&lock(), end, least);
        let [all_done, taken] = [const { [const { AtomicU64::new(0) }; MOST_SHARES] }; 2];
        self.run(parts, &|index| {
            let (start, mut done) = (Instant::now(), 0);
            while let Some(range) = stretches.next(index, done == 0) {
                done += range.len() as u64;
                part(index, range);
            }
            all_done[index].store(done, Ordering::Relaxed);
            taken[index].store(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        });
        let seen = |index: usize| [&all_done, &taken].map(|of| of[index].load(Ordering::Relaxed));
        lock().learn(seen);
    }

    /// Shares the rows of `out`, work of so many multiply-adds: `part(rows, chunk)` gets a range of rows and the slice that holds them.
    ///
    /// # Panics
    /// If `out` is not a whole number of rows, or a part panics.
    pub fn run_rows<T, F>(&self, out: &mut [T], row_len: usize, work: usize, part: F)
    where
        T: Send,
        F: Fn(Range<usize>, &mut [T]) + Sync,
    {
        self.run_rows2((out, row_len), (&mut [(); 0], 0), work, |rows, chunk, _| {
            part(rows, chunk)
        });
    }

    /// Splits `rows` rows of `out` into `parts` ([`Threads::share`]), of which the last row may be cut short, and gives each part `room` numbers of
    /// `scratch`: `part(rows, chunk, scratch)`.
    ///
    /// # Panics
    /// If a buffer is too short, or a part panics.
    pub fn run_rows_with<T, U, F>(
        &self,
        (out, rows, row_len): (&mut [T], usize, usize),
        (scratch, room): (&mut [U], usize),
        (parts, least): (usize, usize),
        part: F,
    ) where
        T: Send,
        U: Send,
        F: Fn(Range<usize>, &mut [T], &mut [U]) + Sync,
    {
        let len = out.len();
        assert!(len <= rows * row_len && scratch.len() >= parts * room);
        let (out, scratch) = (SharedMut::new(out), SharedMut::new(scratch));
        self.share(rows, (parts, least), &|index, own| {
            let chunk = (own.start * row_len).min(len)..(own.end * row_len).min(len);
            // SAFETY: each part has its own rows and its own scratch.
            let (chunk, scratch) = unsafe {
                let scratch = scratch.slice(index * room..(index + 1) * room);
                (out.slice(chunk), scratch)
            };
            part(own, chunk, scratch);
        });
    }

    /// Like [`Threads::run_rows`] for two buffers with the same number of rows, each `(buffer, row length)`. A row length of zero
    /// stands for no buffer.
    ///
    /// # Panics
    /// If a buffer is not a whole number of rows, their numbers of rows differ, or a part panics.
    pub fn run_rows2<T, U, F>(
        &self,
        first: (&mut [T], usize),
        second: (&mut [U], usize),
        work: usize,
        part: F,
    ) where
        T: Send,
        U: Send,
        F: Fn(Range<usize>, &mut [T], &mut [U]) + Sync,
    {
        let rows = |len: usize, row: usize| len.checked_div(row).unwrap_or(0);
        let count = rows(first.0.len(), first.1).max(rows(second.0.len(), second.1));
        assert_eq!(
            first.0.len(),
            count * first.1,
            "the first buffer must be whole rows"
        );
        assert_eq!(
            second.0.len(),
            count * second.1,
            "the second buffer must have as many rows as the first"
        );
        let (parts, least) = (self.parts(work, count), self.least(work, count));
        let (a, b) = (SharedMut::new(first.0), SharedMut::new(second.0));
        self.share(count, (parts, least), &|_, rows| {
            // SAFETY: the ranges of rows are disjoint, and each part runs once.
            let a = unsafe { a.slice(rows.start * first.1..rows.end * first.1) };
            // SAFETY: as above.
            let b = unsafe { b.slice(rows.start * second.1..rows.end * second.1) };
            part(rows, a, b);
        });
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.gate.fetch_or(SHUT, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches the panics of its parts, so there is nothing to learn from its end.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Threads({})", self.count)
    }
}

/// The `index`-th of `parts` even ranges of `0..count`, in order and without gaps.
pub fn even(count: usize, parts: usize, index: usize) -> Range<usize> {
    count * index / parts..count * (index + 1) / parts
}

impl Shared {
    /// A worker's life: wait for a run that is open and not yet seen, enter, work, leave.
    fn serve(&self, index: usize) {
        let mut seen = 0;
        loop {
            let gate = self.wait(index, seen);
            if gate & SHUT != 0 {
                return;
            }
            if self
                .gate
                .compare_exchange(gate, gate + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                continue;
            }
            seen = gate & !(INSIDE | OPEN);
            // SAFETY: the gate was open when we entered, so the task is set and stays until we leave.
            if let Some(task) = unsafe { *self.task.get() } {
                // SAFETY: the caller keeps the closure alive until nobody is inside.
                self.work(unsafe { &*task }, index + 1);
            }
            self.gate.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The state of the gate once it is open for a run after `seen`, or shut.
    fn wait(&self, index: usize, seen: u64) -> u64 {
        let ready =
            |gate: u64| gate & SHUT != 0 || (gate & OPEN != 0 && gate & !(INSIDE | OPEN) != seen);
        let mut since = Instant::now();
        loop {
            for _ in 0..64 {
                let gate = self.gate.load(Ordering::Acquire);
                if ready(gate) {
                    return gate;
                }
                std::hint::spin_loop();
            }
            if since.elapsed() < SPIN {
                continue;
            }
            self.parked[index].store(true, Ordering::SeqCst);
            if !ready(self.gate.load(Ordering::SeqCst)) {
                thread::park();
            }
            self.parked[index].store(false, Ordering::SeqCst);
            since = Instant::now();
        }
    }

    /// Does the part of this thread and then all that nobody has begun. A panic is kept for the caller and ends that.
    fn work(&self, part: &(dyn Fn(usize) + Sync), own: usize) {
        let parts = self.parts.load(Ordering::Relaxed);
        let first = self.begun.len().min(parts);
        IN_PART.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| {
            for index in (own..first).chain(0..own.min(first)) {
                if !self.begun[index].swap(true, Ordering::Relaxed) {
                    part(index);
                }
            }
            let mut index = self.next.fetch_add(1, Ordering::Relaxed);
            while index < parts {
                part(index);
                index = self.next.fetch_add(1, Ordering::Relaxed);
            }
        }));
        IN_PART.set(false);
        if let Err(panic) = result {
            self.begun
                .iter()
                .for_each(|begun| begun.store(true, Ordering::Relaxed));
            self.next.store(parts, Ordering::Relaxed);
            self.panic
                .lock()
                .unwrap_or_else(|lock| lock.into_inner())
                .get_or_insert(panic);
        }
    }
}

/// A mutable slice of which parts of a run write disjoint ranges.
pub struct SharedMut<'a, T> {
    data: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: ranges given out are disjoint by the contract of `slice`, so no element is reached from two threads.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    /// How many elements are shared.
    #[allow(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Shares `slice` for as long as it is borrowed.
    pub fn new(slice: &'a mut [T]) -> SharedMut<'a, T> {
        SharedMut {
            data: slice.as_mut_ptr(),
            len: slice.len(),
            owner: PhantomData,
        }
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// Ranges that are alive at the same time must not overlap.
    ///
    /// # Panics
    /// If `range` is not inside the slice.
    #[expect(
        clippy::mut_from_ref,
        reason = "the caller promises that ranges are disjoint"
    )]
    pub unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "range outside the shared slice"
        );
        // SAFETY: inside the slice by the line above, disjoint by the caller's promise.
        unsafe {
            std::slice::from_raw_parts_mut(self.data.add(range.start), range.end - range.start)
        }
    }

    /// The first element's address, for kernels that write strided blocks.
    pub(crate) fn pointer(&self) -> *mut T {
        self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_runs_once() {
        for count in [1, 2, 3, 5] {
            let threads = Threads::new(count);
            for parts in [0, 1, 2, 7, 64] {
                for _ in 0..if cfg!(miri) { 4 } else { 200 } {
                    let hits: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                    threads.run(parts, &|part| {
                        hits[part].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(hits.iter().all(|hit| hit.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn parked_workers_wake() {
        let threads = Threads::new(2);
        for _ in 0..5 {
            thread::sleep(SPIN * 20);
            let inside = AtomicUsize::new(0);
            // Part 0 waits for part 1, which only a worker can be doing at that moment.
            threads.run(2, &|_| {
                inside.fetch_add(1, Ordering::SeqCst);
                while inside.load(Ordering::SeqCst) < 2 {
                    thread::yield_now();
                }
            });
        }
    }

    #[test]
    fn nested_runs_happen_inline() {
        let threads = Threads::new(2);
        let sum = AtomicUsize::new(0);
        threads.run(4, &|_| {
            threads.run(8, &|part| {
                sum.fetch_add(part, Ordering::Relaxed);
            })
        });
        assert_eq!(sum.into_inner(), 4 * 28);
    }

    #[test]
    fn two_callers_do_not_disturb_each_other() {
        let threads = Threads::new(2);
        let sum = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        threads.run(4, &|part| {
                            sum.fetch_add(part, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 3 * 500 * 6);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives() {
        let threads = Threads::new(2);
        for bad in 0..3 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                threads.run(3, &|part| assert!(part != bad, "part {part} fails"));
            }));
            assert!(result.is_err());
            let sum = AtomicUsize::new(0);
            threads.run(3, &|part| {
                sum.fetch_add(part, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 3);
        }
    }

    #[test]
    fn rows_are_split_without_gaps() {
        let threads = Threads::new(3);
        for rows in [0, 1, 2, 5, 100] {
            let (mut a, mut b) = (vec![0; rows * 3], vec![0; rows]);
            threads.run_rows2((&mut a, 3), (&mut b, 1), usize::MAX, |rows, a, b| {
                for (row, (a, b)) in rows.zip(a.chunks_exact_mut(3).zip(b)) {
                    a.fill(row);
                    *b += row;
                }
            });
            assert!(a.iter().enumerate().all(|(at, &row)| row == at / 3));
            assert!(b.iter().enumerate().all(|(at, &row)| row == at));
        }
    }

    #[test]
    fn shared_work_is_done_once() {
        for threads in [1, 2, 3, 5].map(Threads::new) {
            for count in [0, 1, 7, 64, 1000] {
                for least in [1, 5, usize::MAX] {
                    let done: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                    let busy: Vec<_> = (0..threads.count())
                        .map(|_| AtomicBool::new(false))
                        .collect();
                    for _ in 0..if cfg!(miri) { 1 } else { 50 } {
                        threads.share(count, (threads.count(), least), &|index, own| {
                            assert!(
                                !busy[index].swap(true, Ordering::SeqCst),
                                "two of one index"
                            );
                            for at in own {
                                done[at].fetch_add(1, Ordering::Relaxed);
                            }
                            busy[index].store(false, Ordering::SeqCst);
                        });
                    }
                    let times = if cfg!(miri) { 1 } else { 50 };
                    assert!(
                        done.iter()
                            .all(|done| done.load(Ordering::Relaxed) == times)
                    );
                }
            }
        }
    }

    #[test]
    fn small_work_stays_on_one_thread() {
        let threads = Threads::new(4);
        assert_eq!(threads.parts(GRAIN, 100), 1);
        assert_eq!(threads.parts(usize::MAX, 100), 4);
        assert_eq!(threads.parts(usize::MAX, 3), 3);
    }
}
