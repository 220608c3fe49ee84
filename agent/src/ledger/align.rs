//! Which of the leftover exchanges and lines of one connection belong together.

/// The most of each side that is aligned with care; beyond it, in order.
const MAX_ALIGNED: usize = 64;

/// Pairs exchanges and lines in order, as many as possible at the least total cost. Returns the
/// line of each exchange.
pub(super) fn align(
    exchanges: usize,
    lines: usize,
    cost: impl Fn(usize, usize) -> (u64, u64),
) -> Vec<Option<usize>> {
    if exchanges == 0 || lines == 0 {
        return vec![None; exchanges];
    }
    if exchanges > MAX_ALIGNED || lines > MAX_ALIGNED {
        return (0..exchanges)
            .map(|at| (at < lines).then_some(at))
            .collect();
    }
    let table = costs(exchanges, lines, &cost);
    let mut pairs = vec![None; exchanges];
    let (mut exchange, mut line) = (0, 0);
    while exchange < exchanges && line < lines {
        let here = table[exchange][line];
        if exchanges - exchange > lines - line && here == table[exchange + 1][line] {
            exchange += 1;
        } else if lines - line > exchanges - exchange && here == table[exchange][line + 1] {
            line += 1;
        } else {
            pairs[exchange] = Some(line);
            exchange += 1;
            line += 1;
        }
    }
    pairs
}

/// `table[e][l]`: the least cost of pairing the shorter of the tails from `e` and `l` whole.
fn costs(
    exchanges: usize,
    lines: usize,
    cost: &impl Fn(usize, usize) -> (u64, u64),
) -> Vec<Vec<(u64, u64)>> {
    let mut table = vec![vec![(0, 0); lines + 1]; exchanges + 1];
    for exchange in (0..exchanges).rev() {
        for line in (0..lines).rev() {
            let (here, rest) = (cost(exchange, line), table[exchange + 1][line + 1]);
            let mut best = (here.0 + rest.0, here.1 + rest.1);
            if exchanges - exchange > lines - line {
                best = best.min(table[exchange + 1][line]);
            }
            if lines - line > exchanges - exchange {
                best = best.min(table[exchange][line + 1]);
            }
            table[exchange][line] = best;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::align;

    fn differs(left: &[u8], right: &[u8]) -> Vec<Option<usize>> {
        align(left.len(), right.len(), |l, r| {
            (u64::from(left[l] != right[r]), 0)
        })
    }

    #[test]
    fn equal_counts_pair_in_order() {
        assert_eq!(differs(b"abc", b"xbz"), [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn the_surplus_is_what_fits_worst() {
        assert_eq!(differs(b"abc", b"ac"), [Some(0), None, Some(1)]);
        assert_eq!(differs(b"ac", b"abc"), [Some(0), Some(2)]);
        assert_eq!(differs(b"abcd", b"d"), [None, None, None, Some(0)]);
        assert_eq!(differs(b"", b"abc"), []);
    }
}
