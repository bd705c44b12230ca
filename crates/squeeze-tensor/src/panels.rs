//! Weights in panels: sixteen rows of the first axis together, number by number, as products read them. A plan that finds them so
//! takes them where they lie instead of packing a copy. Whoever asks for numbers gets them row by row.

use crate::{Dtype, Tensor};

/// Rows of a panel.
pub const PANEL: usize = 16;

impl Tensor {
    /// This weight, `[rows, ...]`, as it lies in panels: `[rows / 16, columns, 16]` of numbers. `None` if it is no single precision, or
    /// its rows are no whole panels.
    pub fn to_panels(&self) -> Option<Tensor> {
        let shape = shape_in_panels(&self.shape).filter(|_| self.dtype == Dtype::F32)?;
        if self.in_panels {
            return Some(Tensor {
                shape: shape.to_vec(),
                in_panels: false,
                ..self.clone()
            });
        }
        let (columns, rows) = (shape[1], self.numbers());
        let mut panels = vec![0.0; rows.len()];
        let pairs = panels.chunks_exact_mut(PANEL * columns);
        for (panel, rows) in pairs.zip(rows.chunks_exact(PANEL * columns)) {
            for (row, numbers) in rows.chunks_exact(columns).enumerate() {
                for (to, number) in panel.chunks_exact_mut(PANEL).zip(numbers) {
                    to[row] = *number;
                }
            }
        }
        Some(Tensor::from_f32(&shape, &panels))
    }

    /// The weight of this shape whose panels [`Tensor::to_panels`] gave. `None` if they are those of no such weight.
    pub fn of_panels(panels: &Tensor, shape: &[usize]) -> Option<Tensor> {
        let own = shape_in_panels(shape)?;
        let fits = panels.dtype == Dtype::F32 && panels.shape == own && !panels.in_panels;
        fits.then(|| Tensor {
            shape: shape.to_vec(),
            in_panels: true,
            ..panels.clone()
        })
    }

    /// The panels where they lie, if this weight is held in some and each number lies on a multiple of four bytes.
    pub fn panels(&self) -> Option<&[f32]> {
        let is_native = self.in_panels && cfg!(target_endian = "little");
        let panels = bytemuck::try_cast_slice(&self.bytes).ok();
        panels.filter(|_| is_native)
    }

    /// The same row by row.
    pub fn in_rows(&self) -> Tensor {
        match self.in_panels {
            true => Tensor::from_f32(&self.shape, &self.floats()),
            false => self.clone(),
        }
    }

    /// The numbers of panels, row by row.
    pub(crate) fn rows_of_panels(&self) -> Vec<f32> {
        let (panels, _) = self.bytes.as_chunks();
        let columns = self.len() / self.shape[0];
        let mut rows = vec![0.0; panels.len()];
        let pairs = rows.chunks_exact_mut(PANEL * columns);
        for (rows, panel) in pairs.zip(panels.chunks_exact(PANEL * columns)) {
            for (row, to) in rows.chunks_exact_mut(columns).enumerate() {
                for (to, from) in to.iter_mut().zip(panel.chunks_exact(PANEL)) {
                    *to = f32::from_le_bytes(from[row]);
                }
            }
        }
        rows
    }
}

/// What a weight of this shape is in panels, if its rows are whole ones.
fn shape_in_panels(shape: &[usize]) -> Option<[usize; 3]> {
    let (&rows, columns) = shape.split_first()?;
    let mut columns = columns.iter();
    let columns = columns.try_fold(1usize, |product, &size| product.checked_mul(size))?;
    let whole = rows > 0 && columns > 0 && rows.is_multiple_of(PANEL);
    whole.then_some([rows / PANEL, columns, PANEL])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight() -> Tensor {
        let numbers: Vec<f32> = (0..32 * 6).map(|at| at as f32).collect();
        Tensor::from_f32(&[32, 3, 2, 1], &numbers)
    }

    #[test]
    fn rows_come_back() {
        let weight = weight();
        let panels = weight.to_panels().expect("two panels");
        assert_eq!(panels.shape(), [2, 6, 16]);
        // The first number of each row of the first panel, then the second.
        let first: Vec<f32> = (0..16).map(|row| row as f32 * 6.0).collect();
        assert_eq!(panels.floats()[..16], first);
        assert_eq!(panels.floats()[16], 1.0);
        let held = Tensor::of_panels(&panels, weight.shape()).expect("its panels");
        assert_eq!(held.panels(), panels.as_f32());
        assert_eq!((held.as_f32(), weight.panels()), (None, None));
        assert_eq!(held.floats(), weight.floats());
        assert_eq!((&held, held.len()), (&weight, 192));
        assert_eq!(held.in_rows().as_f32(), weight.as_f32());
        assert_eq!(held.to_panels().expect("it has some"), panels);
    }

    #[test]
    fn what_changes_rows_sees_rows() {
        let weight = weight();
        let held = weight.to_panels();
        let held = Tensor::of_panels(&held.expect("two panels"), weight.shape());
        let held = held.expect("its panels");
        let order: Vec<usize> = (0..32).rev().collect();
        let same = |change: &dyn Fn(&Tensor) -> Tensor| assert_eq!(change(&held), change(&weight));
        same(&|tensor| tensor.rows_in(&order));
        same(&|tensor| tensor.columns_in(&[2, 0, 1]));
        same(&|tensor| tensor.rows_times(&[2.0; 32]));
        same(&|tensor| tensor.clone().reshaped(&[16, 12]).expect("as many"));
        let other = Tensor::zeros(&[32, 3, 2, 1]);
        assert_ne!(held, other);
        assert_ne!(other, held);
    }

    #[test]
    fn what_is_no_panel_stays() {
        assert!(Tensor::zeros(&[17, 4]).to_panels().is_none());
        assert!(Tensor::zeros(&[]).to_panels().is_none());
        assert!(Tensor::zeros(&[16, 0]).to_panels().is_none());
        assert!(Tensor::from_i8(&[16, 1], &[1; 16]).to_panels().is_none());
        let panels = Tensor::zeros(&[1, 4, 16]);
        assert!(Tensor::of_panels(&panels, &[16, 4]).is_some());
        assert!(Tensor::of_panels(&panels, &[16, 3]).is_none());
        assert!(Tensor::of_panels(&panels, &[1, 4, 16]).is_none());
        // As many columns as there are, or 2^64 more.
        let huge = [16, 1 << 63, 2, 1];
        assert!(Tensor::of_panels(&panels, &huge).is_none());
        let huge = [16, 4, (1 << 62) + 1];
        assert!(Tensor::of_panels(&panels, &huge).is_none());
        let bytes = Tensor::from_i8(&[1, 4, 16], &[1; 64]);
        assert!(Tensor::of_panels(&bytes, &[16, 4]).is_none());
    }
}
