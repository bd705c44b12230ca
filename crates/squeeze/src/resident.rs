//! How much memory the process has, and how much a network may take.

use std::fs;

/// Bytes that are in memory, and the most that ever were; zeros where the system does not tell.
pub fn resident() -> [u64; 2] {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ["VmRSS:", "VmHWM:"].map(|key| {
        let line = text.lines().find(|line| line.starts_with(key));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        1024 * kilobytes.unwrap_or(0)
    })
}

/// What a process that runs one network should stay below: its weights, 1.2 times the working memory of its plan, and 8 MB.
pub fn allowed(weights: usize, peak: usize) -> u64 {
    (weights + peak + peak / 5 + 8_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_touched_counts() {
        let [before, _] = resident();
        let touched = vec![1u8; 64 << 20];
        let [after, highest] = resident();
        assert!(touched.iter().all(|&byte| byte == 1));
        // Other tests run beside this one and may give some back.
        assert!(
            before == 0 || after > before + (32 << 20),
            "{before} {after}"
        );
        assert!(highest >= after);
    }

    #[test]
    fn weights_count_once_and_working_memory_a_fifth_more() {
        assert_eq!(allowed(100, 50), 8_000_160);
    }
}
