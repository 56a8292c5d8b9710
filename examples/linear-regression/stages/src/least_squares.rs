//! Ordinary least squares through Householder QR.
//!
//! The normal equations square the condition number of the problem; an orthogonal decomposition
//! does not, and costs only twice as much. (Golub and Van Loan, Matrix Computations, chapter 5.)

use std::fmt;

/// Why no solution exists.
#[derive(Debug, PartialEq, Eq)]
pub enum NoFit {
    /// There are fewer rows than unknowns.
    TooFewRows {
        /// Rows given.
        rows: usize,
        /// Unknowns asked for.
        unknowns: usize,
    },
    /// This column (counted from 0) is a combination of those before it.
    Dependent {
        /// Its index.
        column: usize,
    },
}

impl fmt::Display for NoFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewRows { rows, unknowns } => {
                write!(f, "{rows} rows cannot determine {unknowns} unknowns")
            }
            Self::Dependent { column } => {
                write!(f, "column {column} is a linear combination of those before it")
            }
        }
    }
}

impl std::error::Error for NoFit {}

/// Relative length below which the rest of a column counts as zero: the column is a combination of earlier ones.
const DEPENDENT: f64 = 1e-10;

/// Finds `x` that minimises the length of `columns * x - rhs`.
///
/// All columns must be as long as `rhs`.
pub fn solve(mut columns: Vec<Vec<f64>>, mut rhs: Vec<f64>) -> Result<Vec<f64>, NoFit> {
    let (rows, unknowns) = (rhs.len(), columns.len());
    assert!(columns.iter().all(|c| c.len() == rows), "columns of different length");
    if rows < unknowns {
        return Err(NoFit::TooFewRows { rows, unknowns });
    }
    // Scaled, so that squares of very large or small numbers neither overflow nor vanish.
    let scales: Vec<f64> = columns.iter_mut().map(|c| scale(c)).collect();
    let rhs_scale = scale(&mut rhs);
    let lengths: Vec<f64> = columns.iter().map(|c| norm(c)).collect();
    let mut diagonal = Vec::with_capacity(unknowns);
    for k in 0..unknowns {
        let (done, rest) = columns.split_at_mut(k + 1);
        let reflector = &mut done[k][k..];
        let length = norm(reflector);
        if length <= DEPENDENT * lengths[k] || length == 0.0 {
            return Err(NoFit::Dependent { column: k });
        }
        // The sign that makes the subtraction below an addition: no digits are lost.
        let alpha = -length.copysign(reflector[0]);
        reflector[0] -= alpha;
        diagonal.push(alpha);
        let half_square = dot(reflector, reflector) / 2.0;
        for column in rest.iter_mut() {
            reflect(reflector, half_square, &mut column[k..]);
        }
        reflect(reflector, half_square, &mut rhs[k..]);
    }
    // Back substitution: R is in the columns above the diagonal, and in `diagonal`.
    let mut x = vec![0.0; unknowns];
    for k in (0..unknowns).rev() {
        let known: f64 = (k + 1..unknowns).map(|j| columns[j][k] * x[j]).sum();
        x[k] = (rhs[k] - known) / diagonal[k];
    }
    let unscaled = x.iter().zip(&scales).map(|(x, scale)| x / scale * rhs_scale);
    Ok(unscaled.collect())
}

/// Mirrors `target` at the plane whose normal is `v`; `half_square` is half of `v` times `v`.
fn reflect(v: &[f64], half_square: f64, target: &mut [f64]) {
    let scale = dot(v, target) / half_square;
    for (t, v) in target.iter_mut().zip(v) {
        *t -= scale * v;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(v: &[f64]) -> f64 {
    dot(v, v).sqrt()
}

/// Divides by the largest magnitude and returns it; 1 where all are zero.
fn scale(v: &mut [f64]) -> f64 {
    let largest = v.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    if largest == 0.0 {
        return 1.0;
    }
    v.iter_mut().for_each(|x| *x /= largest);
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(got: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(got.len(), expected.len());
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() <= tolerance, "{got:?} is not {expected:?}");
        }
    }

    #[test]
    fn a_line_through_points_is_found_exactly() {
        let x = vec![0.0, 1.0, 2.0, 3.0];
        let y = x.iter().map(|x| 3.0 - 2.0 * x).collect();
        assert_close(&solve(vec![vec![1.0; 4], x], y).unwrap(), &[3.0, -2.0], 1e-12);
    }

    #[test]
    fn residuals_are_orthogonal_to_every_column() {
        // What distinguishes a least-squares solution, whatever the data.
        let columns: Vec<Vec<f64>> = (0..4)
            .map(|j| (0..50).map(|i| f64::from(i * (j + 3) % 17) - 8.0).collect())
            .collect();
        let rhs: Vec<f64> = (0..50).map(|i| f64::from(i * i % 23)).collect();
        let x = solve(columns.clone(), rhs.clone()).unwrap();
        let residual: Vec<f64> = (0..50)
            .map(|i| rhs[i] - (0..4).map(|j| columns[j][i] * x[j]).sum::<f64>())
            .collect();
        for column in &columns {
            assert!(dot(column, &residual).abs() < 1e-9);
        }
    }

    #[test]
    fn badly_conditioned_data_keep_their_digits() {
        // Läuchli's matrix: the normal equations are singular in double precision.
        let e = 1e-9;
        let columns = vec![vec![1.0, e, 0.0], vec![1.0, 0.0, e]];
        let x = solve(columns, vec![2.0, e, e]).unwrap();
        assert_close(&x, &[1.0, 1.0], 1e-6);
    }

    #[test]
    fn data_that_cannot_be_fitted_is_an_error() {
        assert_eq!(
            solve(vec![vec![1.0], vec![2.0]], vec![1.0]),
            Err(NoFit::TooFewRows { rows: 1, unknowns: 2 })
        );
        let twice = vec![vec![1.0, 2.0, 3.0], vec![2.0, 4.0, 6.0]];
        assert_eq!(solve(twice, vec![1.0, 2.0, 4.0]), Err(NoFit::Dependent { column: 1 }));
        assert_eq!(
            solve(vec![vec![0.0, 0.0]], vec![1.0, 2.0]),
            Err(NoFit::Dependent { column: 0 })
        );
    }

    #[test]
    fn huge_and_tiny_numbers_neither_overflow_nor_vanish() {
        assert_close(
            &solve(vec![vec![1e200, 1e200]], vec![2e200, 2e200]).unwrap(),
            &[2.0],
            1e-12,
        );
        assert_close(
            &solve(vec![vec![1e-200, 1e-200]], vec![2e-200, 2e-200]).unwrap(),
            &[2.0],
            1e-12,
        );
    }
}
