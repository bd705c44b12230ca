//! The inner loop, written once for every tier: a tile of `M` rows and `V` registers of columns, all of it in registers.

use crate::activation::curve::Curve;

/// One register of `f32`s. Its methods are single instructions of a tier and may run only below a `#[target_feature]` function
/// of that tier.
pub(crate) trait Register: Copy {
    /// How many numbers it holds.
    const LANES: usize;
    /// How many rows tiles have that take four steps of k at once, in code of their own: what is between the products takes its share of what the
    /// CPU issues, half of which may be a neighbour's.
    const UNROLLED: usize = usize::MAX;
    /// Tiles of at most so many registers a row begin so far on in all rows, instead of moving the pointer of each row from tile to tile.
    const NARROW: usize = 0;
    /// Whether the registers of a panel may lie apart: where one is as wide as those that files hold.
    const MAY_LIE_APART: bool = Self::LANES == super::PANEL;
    /// Which of the lanes a partial load or store touches.
    type Mask: Copy;
    /// What bytes are limited to.
    type Limits: Copy;

    /// The mask of the first `count` lanes; all of them when `count` is larger.
    fn first(count: usize) -> Self::Mask;
    /// The same number in every lane.
    fn splat(value: f32) -> Self;
    /// All lanes from `from`.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` numbers.
    unsafe fn load(from: *const f32) -> Self;
    /// The lanes of `mask` from `from`, zeros elsewhere.
    ///
    /// # Safety
    /// `from` is valid for reading the lanes of `mask`.
    unsafe fn load_some(from: *const f32, mask: Self::Mask) -> Self;
    /// Writes all lanes.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` numbers.
    unsafe fn store(self, to: *mut f32);
    /// Writes the lanes of `mask`.
    ///
    /// # Safety
    /// `to` is valid for writing the lanes of `mask`.
    unsafe fn store_some(self, to: *mut f32, mask: Self::Mask);
    /// `self + a * b`.
    fn add_product(self, a: Self, b: Self) -> Self;
    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self` limited to `low..=high`; NaN stays NaN.
    fn clamp(self, low: Self, high: Self) -> Self;
    /// `low` and `high` of 0..=255, as bytes are limited to.
    fn limits(low: f32, high: f32) -> Self::Limits;
    /// The bytes from `from` on as numbers of 0..=255.
    ///
    /// # Safety
    /// `from` is valid for reading `LANES` bytes.
    unsafe fn load_bytes(from: *const u8) -> Self;
    /// Writes the limited numbers as the nearest bytes, ties to even; NaN as the lower limit.
    ///
    /// # Safety
    /// `to` is valid for writing `LANES` bytes.
    unsafe fn store_bytes(self, limits: Self::Limits, to: *mut u8);
    /// Copies the bytes of the lanes of `mask`.
    ///
    /// # Safety
    /// Both are valid for the lanes of `mask`.
    unsafe fn copy_some_bytes(from: *const u8, to: *mut u8, mask: Self::Mask);
    /// [`Register::store_bytes`] of four, which begin so many bytes apart.
    ///
    /// # Safety
    /// As for each of them.
    #[inline(always)]
    unsafe fn store_four_of_bytes(four: [Self; 4], limits: Self::Limits, to: (*mut u8, usize)) {
        for (at, one) in four.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { one.store_bytes(limits, to.0.wrapping_add(at * to.1)) };
        }
    }
    /// [`Register::store_bytes`] of two registers of two rows, which begin so many bytes apart.
    ///
    /// # Safety
    /// As for each of them.
    #[inline(always)]
    unsafe fn store_two_rows_of_bytes(
        rows: [[Self; 2]; 2],
        limits: Self::Limits,
        to: (*mut u8, usize),
    ) {
        for (row, two) in rows.into_iter().enumerate() {
            for (at, one) in two.into_iter().enumerate() {
                let to = to.0.wrapping_add(row * to.1 + at * Self::LANES);
                // SAFETY: the caller's promise.
                unsafe { one.store_bytes(limits, to) };
            }
        }
    }
    /// A curve at these places.
    fn curve(self, curve: &Curve) -> Self;
    /// GELU, as exact as bytes are.
    fn gelu(self) -> Self;
    /// [`Activation::HardSwish`](crate::activation::Activation::HardSwish).
    fn hard_swish(self) -> Self;
    /// Asks for the cache line at `at` to be brought near. Any address will do.
    fn prefetch(at: *const f32);
}

/// Numbers of a line of the cache.
const LINE: usize = 16;

/// The most rows of a tile.
pub(crate) const ROWS: usize = 8;
/// The most columns of a tile.
pub(crate) const COLUMNS: usize = 48;

/// What tiles compute: `c = clamp(a b (+ c) + bias + residual * factor)`, or `hard_swish(a b + bias)`.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// How many there are, the rows of each behind those of the one before, and from a row of `a` to the same row of the next tile.
    pub tiles: (usize, usize),
    /// For every segment of k the first element of each row, which go on to the next tile's behind each.
    pub a: *mut [*const f32; ROWS],
    /// How many segments there are.
    pub segments: usize,
    /// From one k to the next in `a`. It stands between two numbers that are written one by one just before: side by side they
    /// would be copied as one, which waits until every store of the last tile has left the store buffer.
    pub step: usize,
    /// Length of each segment.
    pub length: usize,
    /// `[segments * length, V * LANES]`, or `V` times `[segments * length, LANES]`.
    pub b: *const f32,
    /// From one of these `V` to the next; zero where each k's numbers lie side by side.
    pub apart: usize,
    /// What will be needed next, how far to advance in it for each k, and for each tile.
    pub prefetch: (*const f32, usize, usize),
    /// First element of the tile in the output, and from one row to the next.
    pub c: (*mut f32, usize),
    /// The same of where the results go: `c`, or a place in the first cache where something follows.
    pub to: (*mut f32, usize),
    /// How many columns of the tile exist; the others are neither read nor written outside of `b`.
    pub columns: usize,
    /// Whether to add to what is in `c`.
    pub add: bool,
    /// One number a column, or null.
    pub bias: *const f32,
    /// As `c`, or null.
    pub residual: *const f32,
    /// What the residual is multiplied by: one number a column, or null.
    pub factors: *const f32,
    /// Lower and upper limit of the result.
    pub limits: (f32, f32),
    /// Whether the result goes through [`Register::hard_swish`]. Only where all columns of the tile exist and nothing but a bias is added:
    /// for other tiles that would be too much code.
    pub hard_swish: bool,
}

impl Tile {
    /// A tile of nothing that goes nowhere.
    pub(crate) const EMPTY: Tile = Tile {
        tiles: (1, 0),
        a: std::ptr::null_mut(),
        segments: 0,
        step: 0,
        length: 0,
        b: std::ptr::null(),
        apart: 0,
        prefetch: (std::ptr::null(), 0, 0),
        c: (std::ptr::null_mut(), 0),
        to: (std::ptr::null_mut(), 0),
        columns: 0,
        add: false,
        bias: std::ptr::null(),
        residual: std::ptr::null(),
        factors: std::ptr::null(),
        limits: (f32::NEG_INFINITY, f32::INFINITY),
        hard_swish: false,
    };

    /// Lets the output go on to the rows behind these.
    #[inline(always)]
    pub(crate) fn pass(&mut self, rows: usize) {
        self.c.0 = self.c.0.wrapping_add(rows * self.c.1);
        self.to.0 = self.to.0.wrapping_add(rows * self.to.1);
        if !self.residual.is_null() {
            self.residual = self.residual.wrapping_add(rows * self.c.1);
        }
    }
}

/// Computes some tiles.
///
/// # Safety
/// As for [`tile`], with so many rows as all of them have.
#[inline(always)]
pub(crate) unsafe fn compute<R: Register, const M: usize, const V: usize>(t: &Tile) {
    let mut t = *t;
    let mut from = 0;
    for _ in 0..t.tiles.0 {
        // SAFETY: the caller's promise.
        unsafe { tile::<R, M, V>(&t, from) };
        match V <= R::NARROW {
            true => from += t.tiles.1,
            false => {
                for segment in 0..t.segments {
                    // SAFETY: `a` has a row of pointers for each segment.
                    for row in unsafe { &mut *t.a.add(segment) } {
                        *row = row.wrapping_add(t.tiles.1);
                    }
                }
            }
        }
        t.prefetch.0 = t.prefetch.0.wrapping_add(t.prefetch.2);
        t.pass(M);
    }
}

/// Computes a tile.
///
/// # Safety
/// The CPU has the tier of `R`; every row of every segment is valid for `length` numbers `step` apart, `b` for all of its numbers,
/// and `c`, `to`, `bias`, `residual` and `factors` for `M` rows (one for `bias` and `factors`) of `columns`, which lie in `(V - 1) * LANES + 1 ..= V * LANES`.
#[inline(always)]
unsafe fn tile<R: Register, const M: usize, const V: usize>(t: &Tile, from: usize) {
    // What is written over and what is added may lie far away: both are asked for before the sums.
    for row in 0..M {
        for v in 0..V {
            if (v * R::LANES).is_multiple_of(LINE) {
                R::prefetch(t.c.0.wrapping_add(row * t.c.1 + v * R::LANES));
            }
        }
    }
    // Of what the compiler does not know: else it would write out all that follows twice, with a residual and without.
    let residual = std::hint::black_box(t.residual);
    if !residual.is_null() {
        for row in 0..M {
            for v in 0..V {
                if (v * R::LANES).is_multiple_of(LINE) {
                    R::prefetch(residual.wrapping_add(row * t.c.1 + v * R::LANES));
                }
            }
        }
    }
    // SAFETY (of all blocks below): the caller's promise.
    let sum = unsafe { sums::<R, M, V>(t, from) };
    let is_plain = t.columns == V * R::LANES && !t.add && t.residual.is_null();
    debug_assert!(is_plain || !t.hard_swish, "other tiles have no hard-swish");
    match (is_plain, t.hard_swish) {
        (true, false) => unsafe { store_columns::<R, M, V, true, true>(t, sum) },
        (true, true) => unsafe { store_columns::<R, M, V, true, true>(t, HardSwish(sum)) },
        (false, _) => unsafe { store::<R, M, V>(t, sum, t.columns == V * R::LANES) },
    }
}

/// The sums of a tile. Its accumulators are touched only by loops of constant length, so that they stay in registers; what leaves
/// is a copy.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn sums<R: Register, const M: usize, const V: usize>(t: &Tile, from: usize) -> [[R; V]; M] {
    let mut sum = [[R::splat(0.0); V]; M];
    // From one k to the next, and from one register to the next.
    let (near, apart) = ((V * R::LANES, R::LANES), (R::LANES, t.apart));
    let is_apart = R::MAY_LIE_APART && V > 1 && t.apart != 0;
    // SAFETY: the caller's promise.
    unsafe {
        match (M == ROWS, is_apart) {
            // The largest tile needs all registers for pointers: a loop of its own, since a step that is no constant takes one.
            (true, true) => add_segments(t, from, apart, &mut sum),
            (true, false) => add_segments(t, from, near, &mut sum),
            (false, _) => add_segments(t, from, if is_apart { apart } else { near }, &mut sum),
        }
    }
    let mut out = [[R::splat(0.0); V]; M];
    for row in 0..M {
        for v in 0..V {
            out[row][v] = sum[row][v];
        }
    }
    out
}

/// Adds the products of all k, each of which lies so far behind the one before in `b`, and each register of one.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn add_segments<R: Register, const M: usize, const V: usize>(
    t: &Tile,
    from: usize,
    (down, across): (usize, usize),
    sum: &mut [[R; V]; M],
) {
    let (mut b, mut next) = (t.b, t.prefetch.0);
    for segment in 0..t.segments {
        // SAFETY: `a` has a row of pointers for each segment.
        let a = unsafe { *t.a.add(segment) };
        // Of what the compiler does not know: else it would be added to each row's pointer in the inner loop.
        let start = match V <= R::NARROW {
            true => std::hint::black_box(from),
            false => 0,
        };
        let (mut at, mut rest) = (start, t.length);
        if M >= R::UNROLLED && t.step == 1 && 4 * t.prefetch.1 <= lines::<R, V>() * LINE {
            for _ in 0..t.length / 4 {
                ask::<R, V>(next, 4 * t.prefetch.1);
                next = next.wrapping_add(4 * t.prefetch.1);
                // SAFETY: as below.
                unsafe {
                    add_products(&a, at, (b, across), sum);
                    add_products(&a, at + 1, (b.add(down), across), sum);
                    add_products(&a, at + 2, (b.add(2 * down), across), sum);
                    add_products(&a, at + 3, (b.add(3 * down), across), sum);
                }
                b = b.wrapping_add(4 * down);
                at += 4;
            }
            rest = t.length % 4;
        }
        for _ in 0..rest {
            // Before anything is loaded: what waits behind a branch would take registers that the sums need.
            ask::<R, V>(next, t.prefetch.1);
            next = next.wrapping_add(t.prefetch.1);
            // SAFETY: `b` holds V registers for each k, and each row is valid for `length` numbers `step` apart.
            unsafe { add_products(&a, at, (b, across), sum) };
            b = b.wrapping_add(down);
            at += t.step;
        }
    }
}

/// Lines of the cache that V registers fill.
const fn lines<R: Register, const V: usize>() -> usize {
    (V * R::LANES).div_ceil(LINE)
}

/// Asks for so many numbers, at most those of V registers.
#[inline(always)]
fn ask<R: Register, const V: usize>(from: *const f32, numbers: usize) {
    R::prefetch(from);
    for line in 1..lines::<R, V>() {
        if line * LINE < numbers {
            R::prefetch(from.wrapping_add(line * LINE));
        }
    }
}

/// Adds the products of one k.
///
/// # Safety
/// Each row is valid `at` numbers on, and `b` for V registers, each so far behind the one before.
#[inline(always)]
unsafe fn add_products<R: Register, const M: usize, const V: usize>(
    a: &[*const f32; ROWS],
    at: usize,
    (b, across): (*const f32, usize),
    sum: &mut [[R; V]; M],
) {
    // SAFETY (of both): the caller's promise.
    let column: [R; V] = std::array::from_fn(|v| unsafe { R::load(b.add(v * across)) });
    for row in 0..M {
        let x = R::splat(unsafe { *a[row].add(at) });
        for v in 0..V {
            sum[row][v] = sum[row][v].add_product(x, column[v]);
        }
    }
}

/// The sums of a tile. Closures would not be inlined everywhere, and then their instructions are calls.
pub(crate) trait WithBias<R> {
    /// Those of a row and register, with their bias. Each is asked for once.
    fn with_bias(&self, bias: R, row: usize, v: usize) -> R;
}

impl<R: Register, const M: usize, const V: usize> WithBias<R> for [[R; V]; M] {
    #[inline(always)]
    fn with_bias(&self, bias: R, row: usize, v: usize) -> R {
        self[row][v].add(bias)
    }
}

/// Sums whose only activation is this one.
struct HardSwish<S>(S);

impl<R: Register, S: WithBias<R>> WithBias<R> for HardSwish<S> {
    #[inline(always)]
    fn with_bias(&self, bias: R, row: usize, v: usize) -> R {
        self.0.with_bias(bias, row, v).hard_swish()
    }
}

/// Writes the sums out with bias, limited, from register to memory: added to `c` where asked, and with a residual if there is one; whether
/// all columns of the last register exist.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
pub(crate) unsafe fn store<R: Register, const M: usize, const V: usize>(
    t: &Tile,
    sums: impl WithBias<R>,
    is_full: bool,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match is_full {
            true => store_columns::<R, M, V, true, false>(t, sums),
            false => store_columns::<R, M, V, false, false>(t, sums),
        }
    }
}

/// The same where all columns of the last register exist, if `FULL`, and nothing but a bias and limits follows the sums, if `PLAIN`.
/// Written out, because a loop over registers would not be unrolled, and the sums would pass through memory.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn store_columns<
    R: Register,
    const M: usize,
    const V: usize,
    const FULL: bool,
    const PLAIN: bool,
>(
    t: &Tile,
    sums: impl WithBias<R>,
) {
    const { assert!(V <= 3) }
    // SAFETY: the caller's promise.
    unsafe {
        store_column::<R, M, PLAIN>(t, &sums, 0, FULL || V > 1);
        if V > 1 {
            store_column::<R, M, PLAIN>(t, &sums, 1, FULL || V > 2);
        }
        if V > 2 {
            store_column::<R, M, PLAIN>(t, &sums, 2, FULL);
        }
    }
}

/// The same of one register of every row, `all` of it or as much as there are columns.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn store_column<R: Register, const M: usize, const PLAIN: bool>(
    t: &Tile,
    sums: &impl WithBias<R>,
    v: usize,
    all: bool,
) {
    let (low, high) = (R::splat(t.limits.0), R::splat(t.limits.1));
    let mask = R::first(t.columns - v * R::LANES);
    // SAFETY: the mask ends where the columns do.
    let load = |from: *const f32| unsafe {
        let from = from.add(v * R::LANES);
        if all {
            R::load(from)
        } else {
            R::load_some(from, mask)
        }
    };
    let bias = if t.bias.is_null() {
        R::splat(0.0)
    } else {
        load(t.bias)
    };
    let factor = if PLAIN || t.factors.is_null() {
        R::splat(1.0)
    } else {
        load(t.factors)
    };
    for row in 0..M {
        let mut x = sums.with_bias(bias, row, v);
        if !PLAIN && t.add {
            x = x.add(load(t.c.0.wrapping_add(row * t.c.1)));
        }
        if !PLAIN && !t.residual.is_null() {
            x = x.add_product(load(t.residual.wrapping_add(row * t.c.1)), factor);
        }
        x = x.clamp(low, high);
        // SAFETY: as for the loads.
        unsafe {
            let to = t.to.0.add(row * t.to.1 + v * R::LANES);
            if all {
                x.store(to)
            } else {
                x.store_some(to, mask)
            }
        }
    }
}

/// The table of one tier's tiles, `[rows - 1][registers - 1]`, each under the tier's features.
macro_rules! tiles {
    ($register:ty, $features:tt, [$($rows:literal)*] x $columns:tt) => {
        &[$($crate::gemm_f32::tile::tiles!(@row $register, $features, $rows, $columns)),*]
    };
    (@row $register:ty, $features:tt, $rows:literal, [$($columns:literal)*]) => {
        &[$($crate::gemm_f32::tile::tiles!(@one $register, $features, $rows, $columns)),*]
    };
    (@one $register:ty, [$($features:literal)?], $rows:literal, $columns:literal) => {{
        $(#[target_feature(enable = $features)])?
        unsafe fn one(t: &$crate::gemm_f32::tile::Tile) {
            // SAFETY: the caller's promise, passed on.
            unsafe { $crate::gemm_f32::tile::compute::<$register, $rows, $columns>(t) }
        }
        one as unsafe fn(&$crate::gemm_f32::tile::Tile)
    }};
}
pub(crate) use tiles;
