//! Tells how much of the cores other processes used while something was measured.

use std::fs;
use std::time::Instant;

/// Clock ticks a second that the kernel counts processor time in.
const TICKS: f64 = 100.0;

/// Watches the processors from its start on.
#[derive(Debug)]
pub struct Watch {
    start: Instant,
    ticks: Option<(u64, u64)>,
}

impl Watch {
    /// Starts watching.
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
            ticks: ticks(),
        }
    }

    /// Share of one core that other processes used since the start; `None` where the system does
    /// not tell. Over less than 50 ms the kernel's ticks are too coarse, and it is `None` too.
    pub fn others(&self) -> Option<f64> {
        let seconds = self.start.elapsed().as_secs_f64();
        let (busy, own) = self.ticks?;
        let (busy_after, own_after) = ticks()?;
        if seconds < 0.05 {
            return None;
        }
        let others = (busy_after - busy).saturating_sub(own_after - own);
        // One tick is the resolution: it proves nothing.
        Some(others.saturating_sub(1) as f64 / TICKS / seconds)
    }
}

/// Busy ticks of all processors, and ticks of this process.
fn ticks() -> Option<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .map_while(|f| f.parse().ok())
        .collect();
    // user, nice, system, (idle, iowait), irq, softirq, steal
    let busy = [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|&at| fields.get(at))
        .sum();
    let own = fs::read_to_string("/proc/self/stat").ok()?;
    let after_name = own.rsplit_once(')')?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let own = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some((busy, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_work_is_not_interference() {
        let Some((_, before)) = ticks() else {
            println!("skipped: this system has no /proc/stat");
            return;
        };
        let start = Instant::now();
        while start.elapsed().as_millis() < 120 {}
        let (_, after) = ticks().expect("it was there before");
        assert!(after > before, "120 ms of spinning are more than one tick");
    }
}
