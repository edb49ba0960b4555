// Draws the charts, the latent map and the explorer. All data and code are in the page.
"use strict";

(async () => {
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;

  const unpacked = async (id) => {
    const bytes = Uint8Array.from(atob($(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };

  // -- light and dark ------------------------------------------------------------------------------------------------

  const system = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Set();
  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const themed = (layout) => {
    const axis = { gridcolor: color("--line"), zerolinecolor: color("--line"), linecolor: color("--line") };
    const found = { ...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: color("--ink"), family: "system-ui, sans-serif", size: 12 } };
    for (const key of Object.keys(layout)) if (/^[xy]axis/.test(key)) found[key] = { ...layout[key], ...axis };
    return found;
  };
  const config = { displayModeBar: false, responsive: true };
  const draw = (place, data, layout) => {
    place.figure = { data, layout };
    drawn.add(place);
    return Plotly.react(place, data, themed(layout), config);
  };
  const setTheme = (dark) => {
    root.dataset.theme = dark ? "dark" : "light";
    $("theme").setAttribute("aria-pressed", String(dark));
    for (const place of drawn) Plotly.react(place, place.figure.data, themed(place.figure.layout), config);
  };
  setTheme(system.matches);
  system.addEventListener("change", () => setTheme(system.matches));
  $("theme").addEventListener("click", () => setTheme(root.dataset.theme !== "dark"));

  const library = document.createElement("script");
  library.textContent = await unpacked("library");
  document.head.append(library);
  const bundle = JSON.parse(await unpacked("bundle"));

  // Draw a chart when it comes near the screen, so that a page with many charts opens fast.
  const charts = [...document.querySelectorAll("[data-chart]")];
  const show = (place) => {
    const { data, layout } = bundle.charts[place.dataset.chart];
    return draw(place, data, layout);
  };
  for (const place of charts) place.style.minHeight = `${bundle.charts[place.dataset.chart].layout.height}px`;
  const watcher = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      show(target);
    }
  }, { rootMargin: "600px" });
  charts.forEach((place) => watcher.observe(place));
  addEventListener("beforeprint", () => charts.filter((place) => !drawn.has(place)).forEach(show));

  const number = (x) => (x === null || Number.isNaN(x) ? "–" : String(+x.toPrecision(4)));
  const element = (tag, text = "", settings = {}) => Object.assign(document.createElement(tag), { textContent: text }, settings);
  const table = (rows) => {
    const made = element("table"), body = element("tbody");
    for (const cells of rows) {
      const line = element("tr");
      cells.forEach((cell, i) => {
        const place = element(i ? "td" : "th");
        place.append(cell);
        line.append(place);
      });
      body.append(line);
    }
    made.append(body);
    return made;
  };

  const line = (place, row, ...others) => {
    if (!place.querySelector(".chart")) place.replaceChildren(element("div", "", { className: "chart" }), ...others);
    const layout = { height: 300, margin: { l: 48, r: 8, t: 8, b: 36 }, xaxis: {}, yaxis: {} };
    draw(place.querySelector(".chart"), [{ y: row, mode: "lines", line: { color: color("--accent") } }], layout);
  };

  // -- the explorer --------------------------------------------------------------------------------------------------

  let explore = null;
  const explorer = (content) => {
    const bytes = Uint8Array.from(atob(content.numbers), (c) => c.charCodeAt(0));
    const decode = Runtime(content.program, new Float32Array(bytes.buffer));
    const place = $("explored"), z = Float32Array.from(content.start), sliders = new Map();
    const inUnits = (found) => Array.from(found, (v, i) => v * content.scale[i] + content.offset[i]);
    const canvas = element("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "the decoded row");

    const image = (row) => {
      const [height, width, channels = 1] = content.image, [low, high] = content.bounds;
      Object.assign(canvas, { width, height });
      const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
      for (let i = 0; i < height * width; i++)
        for (let c = 0; c < 4; c++)
          pixels.data[4 * i + c] = c === 3 ? 255
            : Math.round(255 * Math.min(1, Math.max(0, (row[i * channels + (channels === 3 ? c : 0)] - low) / (high - low || 1))));
      context.putImageData(pixels, 0, 0);
      if (!canvas.isConnected) place.replaceChildren(canvas);
    };
    const cell = (column, row) => {
      const value = row[column.from];
      if (column.kind === "category") {
        const shares = row.slice(column.from, column.from + column.categories.length);
        const best = shares.indexOf(Math.max(...shares));
        return [column.categories[best] ?? "–", shares[best]];
      }
      if (column.kind === "boolean") return [value >= 0.5 ? "yes" : "no", value];
      const known = column.low !== undefined && column.low !== null;
      // As in `reconstruct`, clip columns of a schema to the range of the training rows.
      let shown = known && column.whole !== undefined ? Math.min(column.high, Math.max(column.low, value)) : value;
      if (column.whole) shown = Math.round(shown);
      const share = known && column.high > column.low ? (shown - column.low) / (column.high - column.low) : null;
      const text = column.kind === "date" ? new Date(shown * 864e5).toISOString().slice(0, 10) : number(shown);
      return [text, share];
    };
    const columns = (row) => place.replaceChildren(table(content.columns.map((column) => {
      const [text, share] = cell(column, row), track = element("span", "", { className: "track" });
      if (share !== null && Number.isFinite(share)) {
        const bar = element("span", "", { className: "bar" });
        bar.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
        track.append(bar);
      }
      return [column.name, text, track];
    })));
    const redraw = () => {
      const row = inUnits(decode(z));
      content.image ? image(row) : content.columns ? columns(row) : line(place, row);
    };
    const set = (values) => {
      z.set(values);
      for (const [unit, [input, output]] of sliders) [input.value, output.value] = [z[unit], number(z[unit])];
      redraw();
    };

    for (const { unit, low, high } of content.units) {
      const label = element("label", "", { className: "slider" });
      const input = element("input", "", { type: "range", min: low, max: high, step: (high - low) / 200, value: z[unit] });
      const output = element("output", number(z[unit]));
      input.setAttribute("aria-label", `unit ${unit + 1} of the code`);
      input.dataset.unit = unit;
      input.addEventListener("input", () => {
        z[unit] = input.valueAsNumber;
        output.value = number(z[unit]);
        redraw();
      });
      sliders.set(unit, [input, output]);
      label.append(element("span", `z${unit + 1}`), input, output);
      $("sliders").append(label);
    }
    $("explore-reset").addEventListener("click", () => set(content.start));
    redraw();
    return { decode, set, code: () => Array.from(z) };
  };
  if (bundle.explorer) explore = explorer(bundle.explorer);

  // -- the map -------------------------------------------------------------------------------------------------------

  const map = (content) => {
    const place = $("map-chart"), shown = $("map-shown"), row = $("map-row");
    const names = Object.keys(content.axes);
    const choices = { "map-x": names, "map-y": names, "map-color": Object.keys(content.colors) };
    for (const [id, options] of Object.entries(choices))
      $(id).append(...options.map((name) => element("option", name, { value: name })));
    $("map-y").selectedIndex = Math.min(1, names.length - 1);
    row.max = content.numbers.length - 1;

    // The colour scale ignores the extreme 2 % at each end, so that other values differ in colour.
    const share = (some, part) => [...some].sort((a, b) => a - b)[Math.round(part * (some.length - 1))];
    const trace = () => {
      const [x, y] = [$("map-x").value, $("map-y").value], name = $("map-color").value, values = content.colors[name];
      const usual = { type: "scatter", mode: "markers", hoverinfo: "none" };
      const of = (chosen) => ({ x: chosen.map((i) => content.axes[x][i]), y: chosen.map((i) => content.axes[y][i]), customdata: chosen });
      const all = values.map((_, i) => i), kinds = [...new Set(values)].filter((v) => v !== null);
      const classes = typeof kinds[0] !== "number" || (kinds.length <= 10 && kinds.every(Number.isInteger));
      const palette = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a900", "#999999", "#7b4fa6", "#8c564b"];
      const data = classes && kinds.length <= 20
        ? kinds.sort((a, b) => (a > b ? 1 : -1)).map((kind, k) => ({ ...usual, ...of(all.filter((i) => values[i] === kind)),
          name: String(kind), marker: { size: 6, color: palette[k % palette.length] } }))
        : [{ ...usual, ...of(all), marker: { size: 6, color: values.map((v) => (typeof v === "number" ? v : null)),
          cmin: share(kinds, 0.02), cmax: share(kinds, 0.98), colorscale: "Viridis", colorbar: { thickness: 10 } } }];
      const chosen = +row.value;
      data.push({ ...usual, ...of([chosen]), showlegend: false,
        marker: { size: 13, color: "rgba(0,0,0,0)", line: { width: 2.5, color: color("--ink") } } });
      const layout = { margin: { l: 48, r: 8, t: 8, b: 44 }, hovermode: "closest", showlegend: data.length > 2,
        xaxis: { title: { text: x } }, yaxis: { title: { text: y } }, legend: { orientation: "h", y: 1.02, yanchor: "bottom" } };
      draw(place, data, layout);
    };
    const look = (i) => {
      const about = [["row", content.numbers[i].toLocaleString("en")],
        ...Object.entries(content.colors).filter(([name]) => !(content.columns ?? []).includes(name)).map(([name, values]) =>
          [name, typeof values[i] === "number" ? number(values[i]) : String(values[i])])];
      if (content.lines) {
        shown.replaceChildren();
        line(shown, content.lines[i], table(about));
        return;
      }
      if (!content.sheet) {
        shown.replaceChildren(table([...about, ...content.names.map((name, c) => [name, content.rows[i][c]])]));
        return;
      }
      const { uri, width, height } = content.sheet, across = Math.max(1, Math.min(content.numbers.length, Math.floor(2048 / width)));
      const canvas = element("canvas", "", { width, height });
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `row ${content.numbers[i]}`);
      const picture = new Image();
      picture.onload = () => canvas.getContext("2d").drawImage(picture, (i % across) * width, Math.floor(i / across) * height,
        width, height, 0, 0, width, height);
      picture.src = uri;
      shown.replaceChildren(canvas, table(about));
    };
    const choose = (i) => {
      row.value = i;
      look(i);
      trace();
    };
    trace();
    look(0);
    for (const id of Object.keys(choices)) $(id).addEventListener("change", trace);
    row.addEventListener("input", () => {
      choose(+row.value);
      explore?.set(content.codes[+row.value]);
    });
    place.on("plotly_hover", ({ points }) => look(points[0].customdata));
    place.on("plotly_click", ({ points }) => {
      choose(points[0].customdata);
      explore?.set(content.codes[points[0].customdata]);
    });
  };
  if (bundle.map) map(bundle.map);

  // For tests of the page: the decoder, in the network's units.
  window.diabolo = { decode: explore?.decode, set: explore?.set, code: explore?.code };
  root.dataset.ready = "true";
})();
