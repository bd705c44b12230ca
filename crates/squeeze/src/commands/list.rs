//! `squeeze list`: what there is to name on the command line.

use std::path::Path;

use clap::ValueEnum;
use serde_json::json;
use squeeze_kernels as kernels;
use squeeze_kernels::Tier;
use squeeze_measure::{Machine, Profile};
use squeeze_zoo::Options;

use crate::error::Outcome;
use crate::out::{self, Columns};
use crate::spaces::{self, Shape};
use crate::units::show_count;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to list
    #[arg(value_enum, default_value_t = What::Models)]
    what: What,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Models,
    Data,
    Spaces,
    Devices,
    Kernels,
}

pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    match args.what {
        What::Models => models(args.json)?,
        What::Data => data(args.json)?,
        What::Spaces => spaces(args.json)?,
        What::Devices => devices(args.json)?,
        What::Kernels => kernels(args.json)?,
    }
    Ok(Outcome::Done)
}

fn models(as_json: bool) -> anyhow::Result<()> {
    let mut table = Columns::new(&[
        "name",
        "task",
        "parameters>",
        "multiply-adds>",
        "published accuracy",
        "source",
        "licence of weights",
    ]);
    for entry in squeeze_zoo::list() {
        let task = entry.task.name();
        let accuracy = entry.accuracy.map(|accuracy| accuracy.to_string());
        let cost = squeeze_zoo::build(entry.name, &Options::default())?.cost();
        if as_json {
            out::json(&json!({
                "name": entry.name, "task": task, "params": cost.params, "macs": cost.macs, "accuracy": accuracy, "source": entry.source,
                "licence": entry.licence(),
            }))?;
        }
        table.row([
            entry.name,
            task,
            &show_count(cost.params),
            &show_count(cost.macs),
            accuracy.as_deref().unwrap_or_default(),
            entry.source,
            entry.licence(),
        ]);
    }
    if as_json { Ok(()) } else { table.print() }
}

fn data(as_json: bool) -> anyhow::Result<()> {
    let mut table = Columns::new(&["name", "what"]);
    for (name, what) in squeeze_data::embedded::SETS {
        if as_json {
            out::json(&json!({ "name": name, "source": what }))?;
        }
        table.row([name, what]);
    }
    if as_json { Ok(()) } else { table.print() }
}

fn spaces(as_json: bool) -> anyhow::Result<()> {
    let mut table = Columns::new(&["name", "task", "slots>", "networks>", "multiply-adds"]);
    for (task, space) in spaces::all(&Shape::default())? {
        let macs = space.prices(|graph, node| graph.cost_of(node).macs as f64);
        let [least, most] = [macs.least(), macs.most()].map(|macs| macs as u64);
        let (slots, size) = (space.slots().len(), space.size());
        if as_json {
            out::json(&json!({
                "name": space.name(), "task": task, "slots": slots, "networks": size,
                "least_macs": least, "most_macs": most,
            }))?;
        }
        let range = format!("{} to {}", show_count(least), show_count(most));
        table.row([
            space.name().into(),
            task.into(),
            slots.to_string(),
            format!("{size:.1e}"),
            range,
        ]);
    }
    if as_json { Ok(()) } else { table.print() }
}

fn devices(as_json: bool) -> anyhow::Result<()> {
    let mut table = Columns::new(&["name", "machine", "blocks>", "kernels", "measured"]);
    let here = Machine::here().to_string();
    if as_json {
        out::json(&json!({ "name": "here", "machine": here }))?;
    }
    table.row(["here", &here, "", "", ""]);
    for path in profiles(Path::new("devices")) {
        let name = path.display().to_string();
        let profile = Profile::load(&path)?;
        let (machine, blocks) = (profile.machine.to_string(), profile.entries.len());
        let kernels = profile.prices.is_some();
        if as_json {
            out::json(&json!({
                "name": name, "machine": machine, "blocks": blocks, "kernels": kernels, "date": profile.date,
            }))?;
        }
        let kernels = if kernels { "priced" } else { "" };
        let blocks = blocks.to_string();
        table.row([&name, &machine, &blocks, kernels, &profile.date]);
    }
    if as_json { Ok(()) } else { table.print() }
}

/// Profiles in a folder, by name; none when there is no such folder.
fn profiles(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    paths
}

fn kernels(as_json: bool) -> anyhow::Result<()> {
    let products = kernels::gemm_f32::KERNELS.iter();
    let products: Vec<_> = products.map(|row| (row.name, row.tier)).collect();
    let in_bytes = kernels::gemm_i8::KERNELS.iter();
    let in_bytes = in_bytes.flat_map(|row| [Some(row), row.wide]).flatten();
    let in_bytes: Vec<_> = in_bytes.map(|row| (row.name, row.tier)).collect();
    // A kernel for bytes or tiles may need more than its tier.
    let bytes = kernels::gemm_i8::KERNELS.iter();
    let bytes = bytes.filter(|row| !row.is_here()).map(|row| row.name);
    let tiles = kernels::amx::KERNELS.iter().flat_map(|row| {
        let absent = row.elements().filter(|&element| !row.is_here(element));
        absent.map(|element| row.name(element))
    });
    let deep = kernels::depthwise_i8::KERNELS.iter();
    let deep: Vec<_> = deep.map(|row| (row.name, row.tier)).collect();
    let absent_deep = kernels::depthwise_i8::KERNELS.iter();
    let absent_deep = absent_deep.filter(|row| !row.is_here()).map(|row| row.name);
    let heads = kernels::attention::BYTE_KERNELS.iter();
    let absent_heads = heads.filter(|_| !kernels::attention::has_bytes());
    let absent = bytes
        .chain(absent_deep)
        .chain(absent_heads.map(|(name, _)| *name));
    let absent: Vec<_> = absent.chain(tiles).collect();
    let on_tiles = kernels::amx::KERNELS.iter();
    let on_tiles: Vec<_> = on_tiles
        .flat_map(|row| row.elements().map(|element| (row.name(element), row.tier)))
        .collect();
    let transforms = kernels::winograd::KERNELS.iter();
    let transforms: Vec<_> = transforms.map(|&(name, _, tier)| (name, tier)).collect();
    let sparse = kernels::spmm::KERNELS;
    let absent: Vec<_> = sparse
        .iter()
        .filter(|row| !row.is_here())
        .flat_map(|row| row.names)
        .chain(absent)
        .collect();
    let sparse: Vec<_> = sparse
        .iter()
        .flat_map(|row| row.names.map(|name| (name, row.tier)))
        .collect();
    let transforms_in_bytes = kernels::winograd_i8::KERNELS.iter();
    let transforms_in_bytes: Vec<_> = transforms_in_bytes
        .map(|row| (row.name, row.tier))
        .collect();
    let families: [(&str, &[(&str, Tier)]); 23] = [
        ("amx", &on_tiles),
        ("gemm_f32", &products),
        ("gemm_i8", &in_bytes),
        ("activation", kernels::activation::KERNELS),
        ("activation", kernels::activation::table::TABLE_KERNELS),
        ("attention", kernels::attention::KERNELS),
        ("attention", kernels::attention::BYTE_KERNELS),
        ("depthwise", kernels::depthwise::KERNELS),
        ("depthwise_i8", &deep),
        ("elementwise", kernels::elementwise::KERNELS),
        ("elementwise", kernels::elementwise::BYTE_KERNELS),
        ("embedding", kernels::embedding::KERNELS),
        ("embedding", kernels::embedding::BYTE_KERNELS),
        ("norm", kernels::norm::KERNELS),
        ("optimizer", kernels::optimizer::KERNELS),
        ("pool", kernels::pool::KERNELS),
        ("pool", kernels::pool::BYTE_KERNELS),
        ("resize", kernels::resize::KERNELS),
        ("resize", kernels::resize::BYTE_KERNELS),
        ("softmax", kernels::softmax::KERNELS),
        ("spmm", &sparse),
        ("winograd", &transforms),
        ("winograd_i8", &transforms_in_bytes),
    ];
    let mut table = Columns::new(&["kernel", "family", "tier", "here"]);
    for (family, rows) in families {
        for (name, tier) in rows {
            let here = tier.is_present() && !absent.contains(name);
            if as_json {
                out::json(&json!({
                    "name": name, "family": family, "tier": tier.name(), "here": here,
                }))?;
            }
            let here = if here { "yes" } else { "no" };
            table.row([*name, family, tier.name(), here]);
        }
    }
    if as_json { Ok(()) } else { table.print() }
}
