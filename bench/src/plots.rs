//! Plots as SVG, drawn without the system's fonts: a reader's browser has some.

use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::error::BenchError;
use crate::rows::{CLIENTS, Figure, TEXTS, Way};
use crate::stats;
use crate::store::{Measured, Store};

const SIZE: (u32, u32) = (900, 480);
const FONT: &str = "sans-serif";
const PERCENTILES: [&str; 3] = ["p50", "p95", "p99"];

/// A colour for each way, the same in every plot (Okabe and Ito's, which most colour-blind readers tell apart).
fn colour(way: Way) -> RGBColor {
    match way {
        Way::Direct => RGBColor(120, 120, 120),
        Way::Bouncer | Way::BouncerTls => RGBColor(86, 180, 233),
        Way::Plain | Way::Cache4 => RGBColor(230, 159, 0),
        Way::Filtered | Way::FilteredTls | Way::Cache64 => RGBColor(213, 94, 0),
        Way::Both | Way::Cache1 => RGBColor(204, 121, 167),
        Way::PgCat => RGBColor(0, 158, 115),
        Way::PgDog => RGBColor(0, 114, 178),
    }
}

/// Values of several ways under one label.
struct Group {
    label: String,
    values: Vec<(Way, f64)>,
}

/// One way over x.
struct Series {
    way: Way,
    points: Vec<(f64, f64)>,
}

/// Draws all of which something was measured.
pub fn draw(store: &Store, dir: &Path) -> Result<(), BenchError> {
    fs::create_dir_all(dir).map_err(BenchError::io("create", dir))?;
    let rows = |keys: &[&'static str]| -> Vec<(&'static str, &Measured)> {
        keys.iter().filter_map(|k| Some((*k, store.0.get(*k)?))).collect()
    };

    let cpu: Vec<Group> = rows(&["prepared-8", "extended-8", "simple-8", "eq-8"])
        .into_iter()
        .map(|(key, m)| group(key, m, |m, way| middle(&m.figure(way, Figure::ProxyCpu))))
        .collect();
    on(dir, "cpu", |area| {
        bars(area, "CPU of the proxy's process per query, 8 clients", "µs", &cpu)
    })?;

    let panels = rows(&["latency-prepared", "extended-8"]);
    on(dir, "latency", |area| {
        let halves = area.split_evenly((1, panels.len().max(1)));
        for ((key, measured), half) in panels.iter().zip(&halves) {
            let groups: Vec<Group> = PERCENTILES
                .iter()
                .enumerate()
                .map(|(n, label)| group(label, measured, |m, way| percentile(m, way, n)))
                .collect();
            bars(half, &format!("Latency, {key}"), "µs", &groups)?;
        }
        Ok(())
    })?;

    let over = |keys: Vec<(u32, String)>, figure: Figure| -> Vec<Series> {
        let measured: Vec<(u32, &Measured)> = keys.iter().filter_map(|(x, k)| Some((*x, store.0.get(k)?))).collect();
        let mut ways: Vec<Way> = measured.iter().flat_map(|(_, m)| m.cells.keys().copied()).collect();
        ways.sort_unstable();
        ways.dedup();
        ways.into_iter()
            .map(|way| Series {
                way,
                points: measured
                    .iter()
                    .filter_map(|(x, m)| Some((f64::from(*x), middle(&m.figure(way, figure))?)))
                    .collect(),
            })
            .filter(|s| !s.points.is_empty())
            .collect()
    };
    let clients = over(
        CLIENTS.iter().map(|n| (*n, format!("clients-{n}"))).collect(),
        Figure::Throughput,
    );
    on(dir, "throughput", |area| {
        lines(
            area,
            "Throughput, extended protocol, transaction mode",
            "clients",
            "queries per second",
            &clients,
        )
    })?;
    let texts = over(TEXTS.iter().map(|n| (*n, format!("texts-{n}"))).collect(), Figure::ProxyCpu);
    on(dir, "plan-cache", |area| {
        lines(
            area,
            "CPU of the proxy's process per query, by plan_cache_bytes",
            "different texts, asked for equally often",
            "µs",
            &texts,
        )
    })
}

/// Memory over time, with the line that was fitted.
pub fn memory(file: &Path, points: &[(f64, f64)], fitted: &[(f64, f64)]) -> Result<(), BenchError> {
    let (dir, name) = (file.parent().unwrap_or(Path::new(".")), "soak");
    fs::create_dir_all(dir).map_err(BenchError::io("create", dir))?;
    let drawn = (|| -> Drawn {
        let root = SVGBackend::new(file, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let across = points.iter().map(|p| p.0).fold(1.0, f64::max);
        let top = points.iter().map(|p| p.1).fold(1.0, f64::max) * 1.2;
        let mut chart = ChartBuilder::on(&root)
            .caption("Memory of postern serve under mixed load", (FONT, 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..across, 0.0..top)?;
        chart
            .configure_mesh()
            .x_desc("minutes")
            .y_desc("MB, not backed by files")
            .label_style((FONT, 13))
            .draw()?;
        chart.draw_series(LineSeries::new(points.iter().copied(), colour(Way::Filtered).stroke_width(2)))?;
        chart.draw_series(LineSeries::new(fitted.iter().copied(), BLACK.stroke_width(1)))?;
        root.present()?;
        Ok(())
    })();
    drawn.map_err(|e| BenchError::Plot {
        name,
        message: e.to_string(),
    })
}

type Drawn = Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn on(dir: &Path, name: &'static str, content: impl FnOnce(&Area<'_>) -> Drawn) -> Result<(), BenchError> {
    let file = dir.join(format!("{name}.svg"));
    let drawn = (|| {
        let root = SVGBackend::new(&file, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        content(&root)?;
        root.present()?;
        Ok(())
    })();
    drawn.map_err(|e: Box<dyn std::error::Error>| BenchError::Plot {
        name,
        message: e.to_string(),
    })
}

fn group(label: &str, measured: &Measured, value: impl Fn(&Measured, Way) -> Option<f64>) -> Group {
    let ways = measured.cells.keys().copied();
    Group {
        label: label.to_owned(),
        values: ways
            .filter_map(|way| Some((way, value(measured, way).filter(|v| *v > 0.0)?)))
            .collect(),
    }
}

fn middle(values: &[Option<f64>]) -> Option<f64> {
    stats::median(values.iter().copied().flatten())
}

fn percentile(measured: &Measured, way: Way, n: usize) -> Option<f64> {
    let rounds = measured.cells.get(&way)?.iter();
    stats::median(rounds.filter_map(|s| Some(s.as_ref()?.percentiles?[n])))
}

fn bars(area: &Area<'_>, title: &str, unit: &str, groups: &[Group]) -> Drawn {
    let mut ways: Vec<Way> = groups.iter().flat_map(|g| g.values.iter().map(|v| v.0)).collect();
    ways.sort_unstable();
    ways.dedup();
    let top = groups.iter().flat_map(|g| g.values.iter().map(|v| v.1)).fold(1.0, f64::max);
    // Room for the legend above the bars.
    let top = top * 1.5;
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 20))
        .margin(12)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..groups.len().max(1) as f64, 0.0..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .disable_x_axis()
        .y_desc(unit)
        .y_label_formatter(&|y| format!("{y:.0}"))
        .label_style((FONT, 13))
        .draw()?;
    let width = 0.8 / ways.len().max(1) as f64;
    for (place, way) in ways.iter().enumerate() {
        let colour = colour(*way);
        let boxes = groups.iter().enumerate().filter_map(|(n, group)| {
            let value = group.values.iter().find(|v| v.0 == *way)?.1;
            let left = n as f64 + 0.1 + place as f64 * width;
            Some(Rectangle::new([(left, 0.0), (left + width * 0.92, value)], colour.filled()))
        });
        chart
            .draw_series(boxes)?
            .label(way.title())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    let labels = groups
        .iter()
        .enumerate()
        .map(|(n, group)| Text::new(group.label.clone(), (n as f64 + 0.1, -top * 0.02), (FONT, 14)));
    chart.draw_series(labels)?;
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .label_font((FONT, 13))
        .draw()?;
    Ok(())
}

fn lines(area: &Area<'_>, title: &str, across: &str, up: &str, series: &[Series]) -> Drawn {
    let all = || series.iter().flat_map(|s| &s.points);
    let (low, high) = all().fold((f64::MAX, 1.0_f64), |(low, high), p| (low.min(p.0), high.max(p.0)));
    let low = low.min(high / 2.0);
    let top = all().map(|p| p.1).fold(1.0, f64::max) * 1.25;
    let mut chart = ChartBuilder::on(area)
        .caption(title, (FONT, 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((low..high).log_scale(), 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc(across)
        .y_desc(up)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .label_style((FONT, 13))
        .draw()?;
    for Series { way, points } in series {
        let colour = colour(*way);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(way.title())
            .legend(move |(x, y)| Rectangle::new([(x, y - 2), (x + 12, y + 2)], colour.filled()));
        chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .label_font((FONT, 13))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::tests::measured;

    #[test]
    fn every_plot_is_drawn_of_what_there_is_and_of_nothing() {
        let dir = std::env::temp_dir().join(format!("postern-plots-{}", std::process::id()));
        let keys = [
            "prepared-8",
            "extended-8",
            "latency-prepared",
            "clients-1",
            "clients-8",
            "texts-10",
            "texts-100",
        ];
        let full = Store(keys.iter().map(|k| ((*k).to_owned(), measured())).collect());
        for store in [Store(BTreeMap::new()), full] {
            draw(&store, &dir).unwrap();
            for name in ["cpu", "latency", "throughput", "plan-cache"] {
                let text = fs::read_to_string(dir.join(format!("{name}.svg"))).unwrap();
                assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{name}");
                assert!(store.0.is_empty() || text.contains("PgBouncer"), "{name}");
            }
        }
        memory(
            &dir.join("soak.svg"),
            &[(0.0, 10.0), (1.0, 11.0)],
            &[(0.0, 10.0), (1.0, 10.5)],
        )
        .unwrap();
        fs::remove_dir_all(dir).unwrap();
    }
}
