//! The Pareto front: what nothing else beats in both cost and quality.

/// Places of the points `(cost, quality)` on the front, cheapest first.
pub fn front(points: &[(f64, f64)]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..points.len()).collect();
    let by_cost_then_quality = |a: &usize, b: &usize| {
        points[*a]
            .0
            .total_cmp(&points[*b].0)
            .then(points[*b].1.total_cmp(&points[*a].1))
    };
    order.sort_unstable_by(by_cost_then_quality);
    let mut best = f64::NEG_INFINITY;
    order.retain(|&at| {
        let better = points[at].1 > best;
        best = best.max(points[at].1);
        better
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beaten_points_are_left_out() {
        let points = [(3.0, 0.9), (1.0, 0.5), (2.0, 0.4), (2.0, 0.8), (4.0, 0.9)];
        assert_eq!(front(&points), [1, 3, 0]);
        assert!(front(&[]).is_empty());
    }
}
