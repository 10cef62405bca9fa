// The charts, drawn with plotly.js. Each function takes what the server sent and draws one chart.
"use strict";

const Charts = (() => {
  const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#999999", "#c9bd2f"];
  const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

  const SIZES = [20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000]; // µm

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // plotly reads some HTML in texts; names come from ships
  const plain = (text) => text.replace(/</g, "‹");
  const colourOf = (names, name) => COLOURS[names.indexOf(name) % COLOURS.length];

  function layout(more) {
    const axis = { gridcolor: style("--line"), zerolinecolor: style("--line"), automargin: true };
    return Object.assign({}, more, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: style("--ink"), size: 12 }, margin: { l: 48, r: 12, t: 8, b: 36 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: style("--soft"), activecolor: style("--deep") },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, hovermode: "x unified",
      xaxis: Object.assign({ tickangle: 0, nticks: window.innerWidth < 760 ? 5 : 9 }, axis, more.xaxis), yaxis: Object.assign({}, axis, more.yaxis),
    });
  }

  function draw(id, traces, more) {
    // without a pointer that hovers, the buttons would stay, and cover the legend
    const narrow = window.innerWidth < 760 || !window.matchMedia("(hover: hover)").matches;
    const config = Object.assign({}, CONFIG, { displayModeBar: narrow ? false : "hover" });
    const final = layout(more);
    if (narrow) final.dragmode = false; // a finger scrolls the page
    Plotly.react(id, traces, final, config);
  }

  // a line must not run over a time without data
  function withBreaks(series, ...columns) {
    const time = [], out = columns.map(() => []);
    const step = series.step_minutes * 60000;
    let before = null;
    series.time.forEach((text, at) => {
      const now = Date.parse(text);
      if (before !== null && now - before > step) {
        time.push(new Date(before + step).toISOString());
        out.forEach((column) => column.push(null));
      }
      time.push(text);
      out.forEach((column, number) => column.push(columns[number][at]));
      before = now;
    });
    return [time, ...out];
  }

  function density(id, series, chosen, interval) {
    const names = Object.keys(series.classes);
    const traces = [];
    for (const name of names) {
      if (chosen && name !== chosen) continue;
      const values = series.classes[name], colour = colourOf(names, name);
      const [time, middle, low, high] = withBreaks(series, values.per_litre, values[`${interval}low`], values[`${interval}high`]);
      // each run without a break is a band of its own
      let start = 0;
      const band = () => Object({ mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false, legendgroup: name });
      for (let at = 0; at <= time.length; at++) {
        if (at < time.length && low[at] !== null && high[at] !== null) continue;
        if (at > start) {
          const x = time.slice(start, at), y = low.slice(start, at);
          traces.push(Object.assign(band(), {
            x: x.concat(x.slice().reverse()), y: high.slice(start, at).concat(y.reverse()),
            fill: "toself", fillcolor: `${colour}40`,
          }));
        }
        start = at + 1;
      }
      traces.push({
        x: time, y: middle, name: plain(name), legendgroup: name, mode: series.time.length < 60 ? "lines+markers" : "lines",
        line: { color: colour, width: 1.5 }, marker: { size: 4 },
        customdata: low.map((value, at) => [value, high[at]]),
        hovertemplate: "%{y:.3~g} (%{customdata[0]:.3~g} to %{customdata[1]:.3~g})",
      });
    }
    draw(id, traces, { xaxis: { type: "date", range: series.shown }, yaxis: { title: { text: "per litre" }, rangemode: "tozero" } });
  }

  function bars(id, series, columns, title) {
    const traces = columns.map(([name, values, colour]) => ({
      type: "bar", x: series.time, y: values, name: plain(name), marker: { color: colour, line: { width: 0 } },
      xperiod: series.step_minutes * 60000, xperiodalignment: "start", hovertemplate: "%{y:,}",
    }));
    draw(id, traces, { barmode: "stack", bargap: 0, xaxis: { type: "date", range: series.shown }, yaxis: { title: { text: title }, rangemode: "tozero" } });
  }

  const hits = (id, series) => bars(id, series, [["hits", series.hits, "#0072b2"], ["misses", series.misses, "#e69f00"]], `per ${series.step}`);

  function images(id, series) {
    const names = Object.keys(series.classes);
    const columns = names.map((name) => [name, series.classes[name].images, colourOf(names, name)]);
    bars(id, series, [...columns, ["failures", series.failed, "#d62728"]], `per ${series.step}`);
  }

  function section(id, series, name) {
    const values = series.classes[name];
    const at = series.position.map((fix, number) => [fix, number]).filter(([fix, number]) => fix && values.per_litre[number] !== null);
    draw(id, [{
      mode: "markers", x: at.map(([, number]) => series.time[number]), y: at.map(([fix]) => fix[0]),
      customdata: at.map(([fix]) => fix[1]),
      marker: { size: 9, symbol: "square", color: at.map(([, number]) => values.per_litre[number]), colorscale: "Viridis", colorbar: { title: { text: "per litre", side: "right" }, thickness: 12 } },
      hovertemplate: "%{x}<br>%{y:.3f}°N, %{customdata:.3f}°E<br>%{marker.color:.3~g} per litre<extra></extra>",
    }], { hovermode: "closest", showlegend: false, xaxis: { type: "date", range: series.shown }, yaxis: { title: { text: "latitude, °N" } } });
    return at.length;
  }

  function flags(id, series) {
    const shown = series.flags.slice(0, 12);
    draw(id, [{
      type: "heatmap", x: series.time, y: shown.map((flag) => plain(flag.name)), z: shown.map((flag) => flag.series),
      colorscale: [[0, "rgba(0,0,0,0)"], [0.001, "#f3d6a4"], [1, "#b84600"]], zmin: 0, showscale: false,
      hovertemplate: "%{x}<br>%{y}: %{z} min<extra></extra>",
    }], { hovermode: "closest", xaxis: { type: "date", range: series.shown }, yaxis: { autorange: "reversed" } });
  }

  function spectrum(id, rows, chosen) {
    const names = [...new Set(rows.map((row) => row.label))];
    const traces = names.filter((name) => !chosen || name === chosen).map((name) => {
      const own = rows.filter((row) => row.label === name && row.normalised_biovolume > 0);
      const value = own.map((row) => row.normalised_biovolume);
      return {
        x: own.map((row) => Math.sqrt(row.esd_from_um * row.esd_to_um)), y: value, name: plain(name), mode: "lines+markers", marker: { size: 4 },
        line: { color: colourOf(names, name) },
        error_y: { symmetric: false, thickness: 1, width: 0, array: own.map((row, at) => row.normalised_biovolume_high - value[at]), arrayminus: own.map((row, at) => value[at] - row.normalised_biovolume_low) },
      };
    });
    draw(id, traces, { hovermode: "closest", xaxis: { type: "log", tickvals: SIZES, ticktext: SIZES.map((size) => size.toLocaleString("en")), title: { text: "ESD, µm" } }, yaxis: { type: "log", title: { text: "mm³ m⁻³ mm⁻³" }, exponentformat: "power" } });
  }

  // the box of a map in degrees: round the positions, at least a degree, in the chart's shape
  function boxOf(points, shape) {
    const north = points.map((point) => point[0]), east = points.map((point) => point[1]);
    const middle = [(Math.min(...north) + Math.max(...north)) / 2, (Math.min(...east) + Math.max(...east)) / 2];
    const squeeze = Math.max(0.2, Math.cos((middle[0] * Math.PI) / 180));
    let height = Math.max(1, 1.3 * (Math.max(...north) - Math.min(...north)));
    let width = Math.max(1 / squeeze, 1.3 * (Math.max(...east) - Math.min(...east)));
    if (width * squeeze < height * shape) width = (height * shape) / squeeze;
    else height = (width * squeeze) / shape;
    return { south: Math.max(-90, middle[0] - height / 2), north: Math.min(90, middle[0] + height / 2), west: Math.max(-180, middle[1] - width / 2), east: Math.min(middle[1] + width / 2, 540), squeeze };
  }

  // a track over the antimeridian runs on, instead of round the world
  function unwound(east) {
    const out = [];
    east.forEach((value, at) => {
      let here = value;
      if (at) here += 360 * Math.round((out[at - 1] - value) / 360);
      out.push(here);
    });
    const most = Math.min(...out);
    return most < -180 ? out.map((value) => value + 360) : out;
  }

  async function map(id, series, name, fleet, coast) {
    const north = series.track.latitude, east = unwound(series.track.longitude);
    const chart = document.getElementById(id);
    const box = boxOf(north.map((value, at) => [value, east[at]]), chart.clientWidth / chart.clientHeight);
    const values = name ? series.classes[name].per_litre : [];
    const at = series.position.map((fix, number) => [fix, number]).filter(([fix, number]) => fix && values[number] != null);
    const shift = (value) => { const near = value + 360 * Math.round(((box.west + box.east) / 2 - value) / 360); return near; };
    const traces = [
      { mode: "lines", x: east, y: north, line: { color: style("--soft"), width: 1.5 }, hoverinfo: "skip", name: "track", showlegend: false },
      {
        mode: "markers", x: at.map(([fix]) => shift(fix[1])), y: at.map(([fix]) => fix[0]), showlegend: false,
        text: at.map(([, number]) => series.time[number]),
        marker: { size: 7, color: at.map(([, number]) => values[number]), colorscale: "Viridis", colorbar: { thickness: 12, title: { text: "per litre", side: "right" } } },
        hovertemplate: "%{text}<br>%{y:.3f}°N, %{x:.3f}°E<br>%{marker.color:.3~g} per litre<extra></extra>",
      },
      {
        mode: "markers+text", x: fleet.map((ship) => shift(ship.position[1])), y: fleet.map((ship) => ship.position[0]), text: fleet.map((ship) => plain(ship.name)),
        textposition: "top center", cliponaxis: true, marker: { size: 10, symbol: "diamond", color: "#d55e00", line: { width: 1, color: "#fff" } }, showlegend: false, hovertemplate: "%{text}<extra></extra>",
      },
    ];
    const more = {
      hovermode: "closest", showlegend: false,
      xaxis: { range: [box.west, box.east], title: { text: "longitude, °E" }, zeroline: false },
      yaxis: { range: [box.south, box.north], title: { text: "latitude, °N" }, zeroline: false },
    };
    draw(id, traces, more);
    const land = await coast(box);
    const x = [], y = [];
    for (const outline of land) {
      for (const [degree, latitude] of outline) { x.push(degree); y.push(latitude); }
      x.push(null); y.push(null);
    }
    const ground = { mode: "lines", x, y, fill: "toself", fillcolor: "#c9bfa655", line: { color: "#8a7f66", width: 1 }, hoverinfo: "skip", showlegend: false, name: "land" };
    draw(id, [ground, ...traces], more);
  }

  return { density, hits, images, section, flags, spectrum, map };
})();
