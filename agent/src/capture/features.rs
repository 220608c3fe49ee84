//! What the programs need of the kernel, asked for one by one.

use std::{error::Error, fmt};

use aya::{
    maps::MapType,
    programs::ProgramType::{self, CgroupSkb, CgroupSock, CgroupSockAddr, SockOps},
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};

use self::Question::{Helper, Map, Program};

/// One feature, and whether the kernel has it.
#[derive(Debug)]
pub struct Feature {
    /// What it is called.
    pub name: &'static str,
    /// What the agent does with it.
    pub purpose: &'static str,
    /// Whether it is there.
    pub standing: FeatureStanding,
}

/// Whether the kernel has a feature.
#[derive(Debug, PartialEq, Eq)]
pub enum FeatureStanding {
    /// It has.
    Present,
    /// It has not; what it lacks is named as in linux/bpf.h.
    Absent(String),
    /// It would not say, for this reason.
    Unknown(String),
}

/// Asks the kernel. It answers truly only to a thread with the needed capabilities: without them
/// it hides features.
pub(super) fn ask() -> Vec<Feature> {
    FEATURES
        .iter()
        .map(|(name, purpose, questions)| Feature {
            name,
            purpose,
            standing: judge(questions, Question::ask),
        })
        .collect()
}

fn judge(
    questions: &[Question],
    ask: impl Fn(&Question) -> Result<bool, Box<dyn Error>>,
) -> FeatureStanding {
    for question in questions {
        match ask(question) {
            Ok(true) => {}
            Ok(false) => return FeatureStanding::Absent(question.to_string()),
            Err(error) => {
                let cause = error.source().map(|cause| format!(": {cause}"));
                let cause = cause.unwrap_or_default();
                return FeatureStanding::Unknown(format!("{question}: {error}{cause}"));
            }
        }
    }
    FeatureStanding::Present
}

/// Something that the kernel has or has not.
#[derive(Clone, Copy, Debug)]
enum Question {
    Map(MapType),
    Program(ProgramType),
    /// A helper function, for this kind of program.
    Helper(BpfHelper, ProgramType),
}

impl Question {
    fn ask(&self) -> Result<bool, Box<dyn Error>> {
        Ok(match *self {
            Self::Map(map) => is_map_supported(map)?,
            Self::Program(program) => is_program_supported(program)?,
            Self::Helper(helper, program) => is_helper_supported(program, helper)?,
        })
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(map) => write!(f, "maps of the type {map:?}"),
            Self::Program(program) => write!(f, "programs of the type {program:?}"),
            Self::Helper(helper, program) => write!(f, "{helper:?} in programs {program:?}"),
        }
    }
}

/// In the order in which they are told: a name, what it is for, and what it consists of.
const FEATURES: [(&str, &str, &[Question]); 11] = [
    (
        "cgroup_skb",
        "reads what sockets send",
        &[
            Program(CgroupSkb),
            Helper(BpfHelper::BPF_FUNC_skb_load_bytes, CgroupSkb),
        ],
    ),
    (
        "sock_ops",
        "follows the life of connections",
        &[Program(SockOps)],
    ),
    (
        "cgroup/connect",
        "learns who connects, and to where",
        &[Program(CgroupSockAddr)],
    ),
    (
        "cgroup/sock_create, post_bind and sock_release",
        "learns who makes sockets and who listens, and when sockets end",
        &[Program(CgroupSock)],
    ),
    (
        "ring buffer",
        "hands records to the agent",
        &[
            Map(MapType::RingBuf),
            Helper(BpfHelper::BPF_FUNC_ringbuf_reserve, CgroupSkb),
            Helper(BpfHelper::BPF_FUNC_ringbuf_query, CgroupSkb),
            Helper(BpfHelper::BPF_FUNC_ringbuf_reserve, SockOps),
            Helper(BpfHelper::BPF_FUNC_ringbuf_reserve, CgroupSockAddr),
            Helper(BpfHelper::BPF_FUNC_ringbuf_reserve, CgroupSock),
        ],
    ),
    (
        "sk_storage",
        "keeps state beside each socket",
        &[
            Map(MapType::SkStorage),
            Helper(BpfHelper::BPF_FUNC_sk_storage_get, CgroupSkb),
            Helper(BpfHelper::BPF_FUNC_sk_storage_get, SockOps),
            Helper(BpfHelper::BPF_FUNC_sk_storage_get, CgroupSockAddr),
            Helper(BpfHelper::BPF_FUNC_sk_storage_get, CgroupSock),
        ],
    ),
    (
        "sk_lookup",
        "finds the socket that receives",
        &[
            Helper(BpfHelper::BPF_FUNC_sk_lookup_tcp, CgroupSkb),
            Helper(BpfHelper::BPF_FUNC_skc_lookup_tcp, CgroupSkb),
            Helper(BpfHelper::BPF_FUNC_sk_lookup_udp, CgroupSkb),
        ],
    ),
    (
        "cgroup id",
        "tells pods apart",
        &[
            Helper(BpfHelper::BPF_FUNC_skb_cgroup_id, CgroupSkb),
            Helper(BpfHelper::BPF_FUNC_sk_cgroup_id, CgroupSkb),
            Helper(BpfHelper::BPF_FUNC_get_current_cgroup_id, CgroupSockAddr),
            Helper(BpfHelper::BPF_FUNC_get_current_cgroup_id, CgroupSock),
        ],
    ),
    (
        "socket cookie",
        "tells sockets apart",
        &[
            Helper(BpfHelper::BPF_FUNC_get_socket_cookie, CgroupSkb),
            Helper(BpfHelper::BPF_FUNC_get_socket_cookie, SockOps),
            Helper(BpfHelper::BPF_FUNC_get_socket_cookie, CgroupSockAddr),
            Helper(BpfHelper::BPF_FUNC_get_socket_cookie, CgroupSock),
        ],
    ),
    (
        "boot clock",
        "dates records",
        &[
            Helper(BpfHelper::BPF_FUNC_ktime_get_boot_ns, CgroupSkb),
            Helper(BpfHelper::BPF_FUNC_ktime_get_boot_ns, SockOps),
        ],
    ),
    (
        "tail call",
        "splits the reading of long packets",
        &[
            Map(MapType::ProgramArray),
            Helper(BpfHelper::BPF_FUNC_tail_call, CgroupSkb),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::{FEATURES, FeatureStanding, judge};

    #[test]
    fn the_first_thing_that_is_missing_is_named() {
        let (_, _, questions) = FEATURES[4];
        assert_eq!(judge(questions, |_| Ok(true)), FeatureStanding::Present);
        let absent = judge(questions, |question| {
            Ok(!question.to_string().contains("SockOps"))
        });
        assert_eq!(
            absent,
            FeatureStanding::Absent("BPF_FUNC_ringbuf_reserve in programs SockOps".into())
        );
        let unknown = judge(questions, |_| Err("no answer".into()));
        assert_eq!(
            unknown,
            FeatureStanding::Unknown("maps of the type RingBuf: no answer".into())
        );
    }
}
