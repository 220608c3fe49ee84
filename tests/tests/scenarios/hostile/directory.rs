//! What lies in the log directory and is no log.

use std::{
    fs,
    io::Write,
    os::unix::{fs::symlink, net::UnixListener},
};

use anyhow::{Result, ensure};
use flate2::{Compression, write::GzEncoder};
use lab::{Session, identifier, pod::PodSpec};
use rustix::fs::{CWD, FileType, Mode, makedev, mkfifoat, mknodat};

use super::{all_matched, log_directory, said_once, send};
use crate::stage::{Chapter, Judge, Scenario, judge};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "What lies in the log directory and is no log",
    scenarios: &[
        Scenario {
            name: "links_pipes_and_devices",
            happens: "beside a log lie links, a loop of links, a FIFO, a socket, a device and a directory with names of logs",
            recorded: "all traffic `matched`; the agent names each once and opens none",
            finds: &[],
            pods: || pods("littered"),
            play: links_pipes_and_devices,
        },
        Scenario {
            name: "links_of_pods",
            happens: "pods' directories that are links out of the log directory, or to themselves",
            recorded: "all traffic `matched`; nothing behind the links is read",
            finds: &[],
            pods: || pods("linked"),
            play: links_of_pods,
        },
        Scenario {
            name: "compressed_bomb",
            happens: "a compressed file of a quarter of a megabyte holds a quarter of a gigabyte",
            recorded: "all traffic `matched`; the agent says once that it leaves the rest out",
            finds: &[],
            pods: || pods("bombed"),
            play: compressed_bomb,
        },
    ],
};

/// How many requests are sent before and after.
const COUNT: usize = 50;

fn pods(client: &str) -> Vec<PodSpec> {
    vec![PodSpec::new(client), PodSpec::new("served")]
}

fn links_pipes_and_devices(session: &mut Session) -> Result<Judge> {
    send(session, "littered", "served", "/littered", COUNT)?;
    let directory = log_directory(session, "littered")?;
    let at = |name: &str| directory.join(name);
    symlink("/etc/passwd", at("1.log"))?;
    symlink("3.log", at("2.log"))?;
    symlink("2.log", at("3.log"))?;
    let mode = Mode::RUSR | Mode::WUSR;
    mkfifoat(CWD, at("4.log"), mode)?;
    // The socket stays when its listener is gone.
    drop(UnixListener::bind(at("5.log"))?);
    // /dev/zero, which never ends.
    mknodat(
        CWD,
        at("6.log"),
        FileType::CharacterDevice,
        mode,
        makedev(1, 5),
    )?;
    fs::create_dir(at("7.log"))?;
    send(session, "littered", "served", "/littered", COUNT)?;
    judge(|evidence| {
        all_matched(evidence, "littered", "served", "/littered", 2 * COUNT)?;
        for number in 1..=7 {
            said_once(evidence, &format!("istio-proxy/{number}.log"))?;
        }
        ensure!(!evidence.ended.stderr.contains("root:"));
        Ok(())
    })
}

fn links_of_pods(session: &mut Session) -> Result<Judge> {
    let logs = session.lab.logs();
    let pods = logs.join("pods");
    symlink(
        "/etc",
        pods.join(format!("shop_etc_{}", identifier::pod_uid()?)),
    )?;
    let around = pods.join(format!("shop_around_{}", identifier::pod_uid()?));
    fs::create_dir(&around)?;
    symlink("..", around.join("istio-proxy"))?;
    symlink("itself", logs.join("containers/itself"))?;
    symlink(
        "/etc/passwd",
        logs.join("containers/passwd_shop_app-0123.log"),
    )?;
    send(session, "linked", "served", "/linked", COUNT)?;
    judge(|evidence| {
        all_matched(evidence, "linked", "served", "/linked", COUNT)?;
        said_once(evidence, "shop_around")?;
        said_once(evidence, "shop_etc")?;
        ensure!(!evidence.ended.stderr.contains("root:"));
        Ok(())
    })
}

fn compressed_bomb(session: &mut Session) -> Result<Judge> {
    send(session, "bombed", "served", "/bombed", COUNT)?;
    let directory = log_directory(session, "bombed")?;
    let temporary = directory.join("bomb");
    // A compressed file may be made of many (RFC 1952, section 2.2).
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&vec![0; 16 << 20])?;
    fs::write(&temporary, encoder.finish()?.repeat(16))?;
    fs::rename(temporary, directory.join("0.log.20200101-000000.gz"))?;
    send(session, "bombed", "served", "/bombed", COUNT)?;
    judge(|evidence| {
        all_matched(evidence, "bombed", "served", "/bombed", 2 * COUNT)?;
        said_once(evidence, "0.log.20200101-000000.gz")?;
        // The junk in it was a line that no format reads.
        let junk = evidence.of("bombed", "junk", |record| {
            record.verdict() == "unverifiable"
        });
        junk.are("unverifiable")?
            .with_reason("log_format_unknown")?
            .of_units(0, 1)?;
        Ok(())
    })
}
