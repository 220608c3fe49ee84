//! Which of the leftover exchanges and lines of one connection belong together.

/// The most pairs whose cost is looked at. Where more are possible, each of the fewer takes the best
/// of those that are next.
const MAX_COMPARED: usize = 64 * 64;

/// What it costs to leave one alone that nothing more is to come for: dearer than any pair, so
/// that as many are paired as there are.
const ALONE: u64 = 1 << 16;

/// The leftovers of one connection, as far as aligning them asks.
pub(super) struct Leftover<'a> {
    /// Of each exchange, whether its line must have been read, if there is one.
    pub(super) exchanges: &'a [bool],
    /// Of each line, whether its exchange must have been told, if there was one.
    pub(super) lines: &'a [bool],
}

/// What is known of a leftover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partner {
    /// This one of the other side.
    Is(usize),
    /// None, and none will come.
    None,
    /// That depends on what is still to come.
    Open,
}

/// Pairs exchanges and lines in order, as many as possible at the least total cost (of very many, at
/// a low one). Returns what is known of each exchange and of each line.
///
/// As long as more may come it is not known whether one that has no partner yet may take that of
/// another. Then only that is known which is the same either way.
pub(super) fn align(
    leftover: &Leftover<'_>,
    cost: impl Fn(usize, usize) -> (u64, u64),
) -> (Vec<Partner>, Vec<Partner>) {
    let taking = pairs(leftover, 0, &cost);
    let all_known = leftover
        .exchanges
        .iter()
        .chain(leftover.lines)
        .all(|known| *known);
    let leaving = match all_known {
        true => taking.clone(),
        false => pairs(leftover, ALONE, &cost),
    };
    let same = |taking: &[Option<usize>], leaving: &[Option<usize>]| {
        let both = taking.iter().zip(leaving);
        both.map(|(one, other)| match (one, other) {
            (Some(one), Some(other)) if one == other => Partner::Is(*one),
            (None, None) => Partner::None,
            _ => Partner::Open,
        })
        .collect()
    };
    let lines = |pairs: &[Option<usize>]| inverse(pairs, leftover.lines.len());
    (
        same(&taking, &leaving),
        same(&lines(&taking), &lines(&leaving)),
    )
}

/// `robbed` is what it costs to pair one that more may come of with one that nothing may: its own
/// partner would be missing there.
fn pairs(
    leftover: &Leftover<'_>,
    robbed: u64,
    cost: &impl Fn(usize, usize) -> (u64, u64),
) -> Vec<Option<usize>> {
    let (exchanges, lines) = (leftover.exchanges.len(), leftover.lines.len());
    // Of most connections nothing is left over: no table then.
    if exchanges == 0 || lines == 0 {
        return vec![None; exchanges];
    }
    if exchanges * lines > MAX_COMPARED {
        let cost = |exchange, line| pair(leftover, robbed, (exchange, line), cost);
        return match lines <= exchanges {
            true => inverse(
                &best_of_next(lines, exchanges, |l, e| cost(e, l)),
                exchanges,
            ),
            false => best_of_next(exchanges, lines, cost),
        };
    }
    let table = costs(leftover, robbed, cost);
    let mut pairs = vec![None; exchanges];
    let (mut exchange, mut line) = (0, 0);
    while exchange < exchanges && line < lines {
        let here = table[exchange][line];
        let together = pair(leftover, robbed, (exchange, line), cost);
        if here == plus(table[exchange + 1][line + 1], together) {
            pairs[exchange] = Some(line);
            exchange += 1;
            line += 1;
        } else if here
            == plus(
                table[exchange + 1][line],
                alone(leftover.exchanges[exchange]),
            )
        {
            exchange += 1;
        } else {
            line += 1;
        }
    }
    pairs
}

/// Of each of the `few`, in order, its partner among the `many`.
fn best_of_next(
    few: usize,
    many: usize,
    cost: impl Fn(usize, usize) -> (u64, u64),
) -> Vec<Option<usize>> {
    let at_once = (MAX_COMPARED / few).max(1);
    let mut next = 0;
    (0..few)
        .map(|one| {
            // Those behind it need one each.
            let last = many - (few - one);
            let near = next..=last.min(next + at_once - 1);
            let best = near.min_by_key(|other| cost(one, *other)).unwrap_or(next);
            next = best + 1;
            Some(best)
        })
        .collect()
}

/// Of each of the `count` others, which of these it is the partner of.
fn inverse(partners: &[Option<usize>], count: usize) -> Vec<Option<usize>> {
    let mut inverse = vec![None; count];
    for (one, other) in partners.iter().enumerate() {
        if let Some(other) = other {
            inverse[*other] = Some(one);
        }
    }
    inverse
}

/// `table[e][l]`: the least cost of the tails from `e` and `l`.
fn costs(
    leftover: &Leftover<'_>,
    robbed: u64,
    cost: &impl Fn(usize, usize) -> (u64, u64),
) -> Vec<Vec<(u64, u64)>> {
    let (exchanges, lines) = (leftover.exchanges, leftover.lines);
    let mut table = vec![vec![(0, 0); lines.len() + 1]; exchanges.len() + 1];
    for exchange in (0..=exchanges.len()).rev() {
        for line in (0..=lines.len()).rev() {
            let without_exchange = (exchange < exchanges.len())
                .then(|| plus(table[exchange + 1][line], alone(exchanges[exchange])));
            let without_line =
                (line < lines.len()).then(|| plus(table[exchange][line + 1], alone(lines[line])));
            let together = (without_exchange.is_some() && without_line.is_some()).then(|| {
                let pair = pair(leftover, robbed, (exchange, line), cost);
                plus(table[exchange + 1][line + 1], pair)
            });
            let ways = [without_exchange, without_line, together];
            table[exchange][line] = ways.into_iter().flatten().min().unwrap_or_default();
        }
    }
    table
}

fn pair(
    leftover: &Leftover<'_>,
    robbed: u64,
    (exchange, line): (usize, usize),
    cost: &impl Fn(usize, usize) -> (u64, u64),
) -> (u64, u64) {
    let alike = leftover.exchanges[exchange] == leftover.lines[line];
    plus(cost(exchange, line), (if alike { 0 } else { robbed }, 0))
}

fn alone(nothing_to_come: bool) -> (u64, u64) {
    (if nothing_to_come { ALONE } else { 0 }, 0)
}

fn plus(left: (u64, u64), right: (u64, u64)) -> (u64, u64) {
    (left.0 + right.0, left.1 + right.1)
}

#[cfg(test)]
mod tests {
    use super::{
        Leftover,
        Partner::{self, Is, Open},
        align,
    };

    /// Of each letter on the left, which one on the right is its partner.
    fn differs(left: &[u8], right: &[u8]) -> Vec<Partner> {
        // A capital letter: more may come of it.
        let is_final = |side: &[u8]| -> Vec<bool> {
            side.iter()
                .map(|letter| !letter.is_ascii_uppercase())
                .collect()
        };
        let leftover = Leftover {
            exchanges: &is_final(left),
            lines: &is_final(right),
        };
        let cost = |l: usize, r: usize| !left[l].eq_ignore_ascii_case(&right[r]);
        align(&leftover, |l, r| (u64::from(cost(l, r)), 0)).0
    }

    #[test]
    fn equal_counts_pair_in_order() {
        assert_eq!(differs(b"abc", b"xbz"), [Is(0), Is(1), Is(2)]);
    }

    #[test]
    fn the_surplus_is_what_fits_worst() {
        assert_eq!(differs(b"abc", b"ac"), [Is(0), Partner::None, Is(1)]);
        assert_eq!(differs(b"ac", b"abc"), [Is(0), Is(2)]);
        let none = Partner::None;
        assert_eq!(differs(b"abcd", b"d"), [none, none, none, Is(0)]);
        assert_eq!(differs(b"", b"abc"), []);
    }

    #[test]
    fn of_what_fits_alike_the_nearest_are_paired() {
        let leftover = Leftover {
            exchanges: &[true; 3],
            lines: &[true; 2],
        };
        let distance = [[1, 9], [5, 9], [9, 1]];
        let (exchanges, lines) = align(&leftover, |l, r| (0, distance[l][r]));
        assert_eq!(exchanges, [Is(0), Partner::None, Is(1)]);
        assert_eq!(lines, [Is(0), Is(2)]);
        let distance = [[9, 9], [1, 9], [9, 1]];
        let (exchanges, _) = align(&leftover, |l, r| (0, distance[l][r]));
        assert_eq!(exchanges, [Partner::None, Is(0), Is(1)]);
    }

    #[test]
    fn of_very_many_each_takes_the_best_of_the_next() {
        let many = 65;
        let alike = vec![b'a'; many];
        let odd_first: Vec<u8> = [b"x", &alike[..]].concat();
        let none = Partner::None;
        let of_exchanges = differs(&odd_first, &alike);
        assert_eq!((of_exchanges[0], of_exchanges[many]), (none, Is(many - 1)));
        let of_exchanges = differs(&alike, &odd_first);
        assert_eq!((of_exchanges[0], of_exchanges[many - 1]), (Is(1), Is(many)));
        // Where nothing is left over there is no choice.
        let edited = vec![b'x'; many];
        assert_eq!(differs(&alike, &edited)[many - 1], Is(many - 1));
    }

    #[test]
    fn a_few_find_theirs_among_very_many() {
        let leftover = Leftover {
            exchanges: &[true; 3000],
            lines: &[true; 2],
        };
        let near: [usize; 2] = [900, 1999];
        let (exchanges, lines) = align(&leftover, |l, r: usize| (2, near[r].abs_diff(l) as u64));
        assert_eq!(lines, [Is(900), Is(1999)]);
        assert_eq!((exchanges[0], exchanges[900]), (Partner::None, Is(0)));
        let leftover = Leftover {
            exchanges: &[true; 2],
            lines: &[true; 3000],
        };
        let (exchanges, _) = align(&leftover, |l: usize, r| (2, near[l].abs_diff(r) as u64));
        assert_eq!(exchanges, [Is(900), Is(1999)]);
    }

    #[test]
    fn what_may_still_come_leaves_open_what_depends_on_it() {
        // Is the first line edited, or invented? The line of the last exchange will tell.
        assert_eq!(differs(b"aaA", b"xaa"), [Open, Open, Open]);
        assert_eq!(differs(b"aaa", b"xaa"), [Is(0), Is(1), Is(2)]);
        assert_eq!(differs(b"aaA", b"xaaa"), [Is(1), Is(2), Is(3)]);
        assert_eq!(differs(b"abC", b"xbc"), [Is(0), Is(1), Is(2)]);
        assert_eq!(differs(b"abC", b"xb"), [Is(0), Is(1), Partner::None]);
    }
}
