//! Pictures: latency over percentile, the axis stretched towards 100 % as is usual for latencies; and
//! the results of a suite as bars.

use std::path::Path;

use plotters::prelude::*;
use thiserror::Error;

use crate::latency::Recorder;

/// Why there is no picture.
#[derive(Debug, Error)]
#[error("cannot draw the latencies")]
pub struct PlotError(#[source] Box<dyn std::error::Error + Send + Sync>);

const SIZE: (u32, u32) = (800, 480);

/// Draws one curve per name.
///
/// # Errors
/// When the file cannot be written.
pub fn latencies(path: &Path, title: &str, curves: &[(&str, &Recorder)]) -> Result<(), PlotError> {
    let curves: Vec<(&str, Vec<(f64, f64)>)> =
        curves.iter().map(|(name, recorder)| (*name, recorder.curve())).collect();
    draw(path, title, &curves).map_err(|error| PlotError(error.to_string().into()))
}

fn draw(
    path: &Path,
    title: &str,
    curves: &[(&str, Vec<(f64, f64)>)],
) -> Result<(), Box<dyn std::error::Error>> {
    let points = || curves.iter().flat_map(|(_, curve)| curve.iter().copied());
    let right = points().map(|(x, _)| x).fold(10.0, f64::max);
    let top = points().map(|(_, y)| y).fold(10.0, f64::max) * 1.2;
    let bottom = points().map(|(_, y)| y).fold(top, f64::min).max(0.1) * 0.8;
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d((1.0..right).log_scale(), (bottom..top).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("percentile")
        .y_desc("µs")
        .x_label_formatter(&|x| format!("{}", 100.0 * (1.0 - 1.0 / x)))
        .draw()?;
    let colours = [&BLUE, &RED, &GREEN];
    for ((name, curve), colour) in curves.iter().zip(colours.into_iter().cycle()) {
        chart
            .draw_series(LineSeries::new(curve.iter().copied(), colour))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}

/// Draws one bar per label, and a line for the floor.
///
/// # Errors
/// When the file cannot be written.
pub fn bars(path: &Path, title: &str, bars: &[(String, f64)], floor: f64) -> Result<(), PlotError> {
    draw_bars(path, title, bars, floor).map_err(|error| PlotError(error.to_string().into()))
}

fn draw_bars(
    path: &Path,
    title: &str,
    bars: &[(String, f64)],
    floor: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let right = bars.iter().map(|(_, value)| *value).fold(floor, f64::max) * 1.05;
    let count = u32::try_from(bars.len())?;
    let height = 90 + 34 * count;
    let root = SVGBackend::new(path, (SIZE.0, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let rows = f64::from(count);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .build_cartesian_2d(0.0..right, 0.0..rows)?;
    chart.configure_mesh().disable_y_mesh().disable_y_axis().x_desc("GB/s").draw()?;
    for (at, (label, value)) in bars.iter().enumerate() {
        let top = rows - f64::from(u32::try_from(at)?);
        let bar = Rectangle::new([(0.0, top - 0.9), (*value, top - 0.45)], BLUE.mix(0.5).filled());
        chart.draw_series([bar])?;
        let place = (right * 0.005, top - 0.02);
        chart.draw_series([Text::new(label.clone(), place, ("sans-serif", 13))])?;
    }
    chart
        .draw_series(LineSeries::new([(floor, 0.0), (floor, rows)], &RED))?
        .label("one TCP stream over loopback")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], RED));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_picture_has_a_line_per_curve() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("latency.svg");
        let mut recorder = Recorder::new();
        for n in 1..1000 {
            recorder.record(Duration::from_micros(n));
        }
        latencies(&path, "test", &[("one", &recorder), ("two", &recorder)]).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        assert!(svg.contains("one") && svg.contains("two") && svg.contains("<polyline"));
    }

    #[test]
    fn nothing_measured_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("latency.svg");
        latencies(&path, "test", &[("none", &Recorder::new())]).unwrap();
    }

    #[test]
    fn a_bar_stands_for_each_result() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("suite.svg");
        bars(&path, "test", &[("a".to_owned(), 1.0), ("b".to_owned(), 5.0)], 4.0).unwrap();
        let svg = std::fs::read_to_string(path).unwrap();
        assert!(svg.matches("<rect").count() >= 3, "{svg}");
    }
}
