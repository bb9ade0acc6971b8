//! What a tenant, or a neighbour in the cluster's network, does to the pods of others: each attack against the same without it.

mod neighbour;
mod network;
mod pods;
mod stage;
mod streams;
mod watch;

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use futures::future::LocalBoxFuture;

use self::neighbour::Neighbour;
use self::stage::{Running, Stage};
use self::watch::Watch;
use crate::bench::Bench;
use crate::bench::rig::{Rig, Setup};
use crate::bench::stats::{Row, number, summary};

pub(super) const METHOD: &str = "Each attack has a control plane, an emulator and an operator of its own. A neighbour creates a \
    pod, reads its log, runs a command in it and deletes it, one after the other and with half a second in between: for 10 s \
    alone, then for 25 s under the attack, which goes on all the while. Attackers of the network are strangers who come from \
    eight addresses and connect again when they are cut off; tenants have a namespace of their own. Peak RSS is VmHWM from the \
    start of vkc to the end of the attack. /livez is asked four times a second, with the three seconds that a kubelet waits; \
    renewals of the nodes' leases are looked at once a second. Attackers, neighbour, control plane, emulator and vkc share the \
    cores of one machine: whatever the attack costs there slows the neighbour too.";

/// With what it takes to start each control plane, all of it is done in some twelve minutes.
const QUIET: Duration = Duration::from_secs(10);
const WINDOW: Duration = Duration::from_secs(25);
/// MiB; the Deployment's limit is 512.
const MEMORY: f64 = 200.0;
/// How much longer the neighbour may wait.
const TIMES: f64 = 2.0;

type Begin = for<'a> fn(&'a Stage<'a>) -> LocalBoxFuture<'a, Result<Running>>;

/// What begins at once.
fn ready<'a>(running: Result<Running>) -> LocalBoxFuture<'a, Result<Running>> {
    Box::pin(std::future::ready(running))
}

struct Attack {
    name: &'static str,
    /// What is counted of it: it was carried out when there are some.
    counts: &'static str,
    begin: Begin,
}

const ATTACKS: [Attack; 15] = [
    // A tenant's pods.
    Attack {
        name: "variable-bomb",
        counts: "pods of 3 KB with 100 GB of variables",
        begin: |stage| ready(pods::bombs(stage)),
    },
    Attack {
        name: "variables-60000",
        counts: "pods with 60,000 variables, four at once",
        begin: |stage| ready(pods::many_variables(stage)),
    },
    Attack {
        name: "volumes-60000",
        counts: "pods with 60,000 volumes, four at once",
        begin: |stage| ready(pods::many_volumes(stage)),
    },
    Attack {
        name: "large-references",
        counts: "pods that refer to 60 MB of Secrets, eight at once",
        begin: |stage| Box::pin(pods::large_references(stage)),
    },
    Attack {
        name: "silent-registry",
        counts: "connections that a silent registry got, of 150 pods",
        begin: |stage| Box::pin(pods::silent_registry(stage)),
    },
    // Streams of a tenant.
    Attack {
        name: "newline-logs",
        counts: "logs of 4,000,000 empty lines read, four at once",
        begin: |stage| Box::pin(streams::newline_logs(stage)),
    },
    Attack {
        name: "slow-readers",
        counts: "logs of 4 MB begun, by 200 who do not read on",
        begin: |stage| Box::pin(streams::slow_readers(stage)),
    },
    Attack {
        name: "log-loop",
        counts: "logs read, by 32 at once",
        begin: |stage| ready(Ok(streams::log_loop(stage))),
    },
    Attack {
        name: "exec-loop",
        counts: "commands asked for, by 32 at once",
        begin: |stage| ready(Ok(streams::exec_loop(stage))),
    },
    Attack {
        name: "stdin-flood",
        counts: "MB of standard input sent, to 100 commands that read nothing",
        begin: |stage| ready(Ok(streams::stdin_floods(stage))),
    },
    Attack {
        name: "spdy-headers",
        counts: "streams opened, by 23 sessions of port-forward",
        begin: |stage| ready(Ok(streams::spdy_headers(stage))),
    },
    // Strangers in the network.
    Attack {
        name: "kept-connections",
        counts: "connections to the kubelet API, 512 kept",
        begin: |stage| ready(network::kept_connections(stage)),
    },
    Attack {
        name: "unfinished-headers",
        counts: "headers of up to 400 KB begun, 500 at once",
        begin: |stage| ready(network::unfinished_headers(stage)),
    },
    Attack {
        name: "token-reviews",
        counts: "requests with a token of 12 KB, 18,000 at once",
        begin: |stage| ready(network::token_reviews(stage)),
    },
    Attack {
        name: "probe-connections",
        counts: "connections to the port of probes, 512 kept",
        begin: |stage| ready(Ok(network::probe_connections(stage))),
    },
];

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    for name in &bench.attacks {
        ensure!(
            ATTACKS.iter().any(|attack| attack.name == name),
            "no attack {name:?}; there are {}",
            ATTACKS.map(|attack| attack.name).join(", ")
        );
    }
    let wanted = |attack: &&Attack| {
        bench.attacks.is_empty() || bench.attacks.iter().any(|name| name == attack.name)
    };
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for attack in ATTACKS.iter().filter(wanted) {
        println!("  {}", attack.name);
        match Box::pin(measured(bench, attack)).await {
            Ok(more) => rows.extend(more),
            Err(error) => {
                println!("    not measured: {error:#}");
                failures.push(attack.name);
            }
        }
    }
    if !failures.is_empty() {
        // What was measured is not lost for that.
        for row in rows {
            println!("{}: {:?}", row.name, summary(&row.samples));
        }
        bail!("not measured: {}", failures.join(", "));
    }
    Ok(rows)
}

/// The same for all of them.
async fn measured(bench: &Bench, attack: &Attack) -> Result<Vec<Row>> {
    let setup = Setup {
        capacity: 400,
        ..Setup::default()
    };
    let mut rig = Rig::start(bench, attack.name, &setup).await?;
    let stage = Stage::of(&rig).await?;
    let quiet = Box::pin(Neighbour::of(&mut rig, "quiet", QUIET)).await?;
    let before = rig.peak()?;

    let watch = Watch::start(&rig)?;
    let (begin, (_, cpu_before)) = (Instant::now(), rig.usage()?);
    let running = (attack.begin)(&stage.on(&rig)).await?;
    let under = Box::pin(Neighbour::of(&mut rig, "under", WINDOW)).await?;
    let seen = watch.end().await?;
    let counted = running.end();
    ensure!(counted > 0, "it was not carried out");
    let peak = rig.peak()?;
    let cpu = (rig.usage()?.1 - cpu_before) / begin.elapsed().as_secs_f64();
    rig.stop().await?;

    let name = |what: &str| format!("{}: {what}", attack.name);
    let mut rows = vec![
        Row::one(name(attack.counts), "", number(counted)),
        Row::one(name("RSS of vkc before, peak"), "MiB", before),
        Row::one(name("RSS of vkc, peak"), "MiB", peak).aim(MEMORY),
        Row::one(name("CPU of vkc"), "% of a core", cpu * 100.0),
    ];
    for (what, alone, under) in [
        ("create → Running", &quiet.created, &under.created),
        ("delete → gone", &quiet.deleted, &under.deleted),
        ("kubectl logs", &quiet.logs, &under.logs),
        ("kubectl exec", &quiet.commands, &under.commands),
    ] {
        rows.push(Row::new(
            name(&format!("{what}, alone")),
            "s",
            alone.clone(),
        ));
        rows.push(Row::new(name(what), "s", under.clone()));
        if let (Some(alone), Some(under)) = (summary(alone), summary(under)) {
            let times = |of: f64, than: f64| Row::one(name(what), "", of / than);
            let mut p50 = times(under.p50, alone.p50).aim(TIMES);
            p50.name += ", p50: times that alone";
            let mut max = times(under.max, alone.max).aim(TIMES);
            max.name += ", max: times that alone";
            rows.extend([p50, max]);
        }
    }
    rows.extend([
        Row::one(
            name("steps of the neighbour that failed, alone"),
            "",
            number(quiet.failures),
        ),
        Row::one(
            name("steps of the neighbour that failed"),
            "",
            number(under.failures),
        )
        .aim(0.0),
        Row::one(
            name("/livez did not answer"),
            "times",
            number(seen.unanswered),
        )
        .aim(0.0),
        Row::one(name("/livez, slowest answer"), "s", seen.slowest),
        Row::one(name("a node was NotReady"), "times", number(seen.not_ready)).aim(0.0),
        Row::one(
            name("longest time between two renewals of a node's lease"),
            "s",
            seen.longest_lease,
        ),
    ]);
    for row in &rows {
        let Some(said) = summary(&row.samples) else {
            println!("    {}: nothing", row.name);
            continue;
        };
        let aim = match row.aim {
            Some(aim) if said.max > aim => format!(", of {aim}: MISSED"),
            Some(aim) => format!(", of {aim}"),
            None => String::new(),
        };
        println!(
            "    {}: {:.3} {} (max {:.3}, n {}){aim}",
            row.name, said.p50, row.unit, said.max, said.n
        );
    }
    Ok(rows)
}
