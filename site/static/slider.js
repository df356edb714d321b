// Sliders that need no kernel: they exchange pictures that were made when the pages were built.
(function () {
  "use strict";

  function setUp(figure) {
    const data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const range = figure.querySelector('input[type="range"]');
    const output = figure.querySelector("output");
    const caption = figure.querySelector("figcaption");
    const toggle = figure.querySelector('input[type="checkbox"]');
    const marker = figure.querySelector(".slider-curve .marker");
    const axis = marker ? marker.ownerSVGElement.querySelector("path.axis").getBBox().width : 0;
    const panels = [...figure.querySelectorAll(".slider-panel")];

    function show() {
      const position = Number(range.value);
      output.textContent = data.values[position];
      caption.textContent = data.texts[position];
      panels.forEach((panel, number) => {
        panel.querySelectorAll("img").forEach((image, layer) => {
          image.src = data.panels[number][position][layer];
        });
      });
      if (marker) {
        const x = (axis * position) / Math.max(1, data.values.length - 1);
        marker.setAttribute("x1", x);
        marker.setAttribute("x2", x);
      }
    }

    function preload() {
      data.panels.flat(2).forEach((address) => {
        new Image().src = address;
      });
    }

    range.addEventListener("input", show);
    range.addEventListener("pointerdown", preload, { once: true });
    range.addEventListener("focus", preload, { once: true });
    if (toggle) {
      toggle.addEventListener("change", () => {
        figure.classList.toggle("without-labels", !toggle.checked);
      });
    }
    show(); // browsers keep a slider's position when a page is loaded again
  }

  // -- the kernel on a map ------------------------------------------------------------------------

  const SVG = "http://www.w3.org/2000/svg";

  function rectangle(kind, x, y, width, height) {
    const shape = document.createElementNS(SVG, "rect");
    const values = { class: kind, x: x, y: y, width: width, height: height };
    Object.entries(values).forEach(([name, value]) => shape.setAttribute(name, value));
    return shape;
  }

  function setUpRates(figure) {
    const data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const select = figure.querySelector("select");
    const range = figure.querySelector('input[type="range"]');
    const output = figure.querySelector("output");
    const caption = figure.querySelector("figcaption");
    const drawing = figure.querySelector("svg");
    const margin = Math.max(...data.rates) + 2;
    let centre = null;

    function show() {
      const map = data.maps[Number(select.value)];
      const number = Number(range.value);
      const rate = data.rates[number];
      const at = centre || [Math.floor(map.rows / 2), Math.floor(map.columns / 2)];
      const width = map.columns + 2 * margin;
      const height = map.rows + 2 * margin;
      const least = Math.max(width, height) / 60; // a tap is one pixel, and large enough to be seen
      const size = Math.max(1, least);
      drawing.setAttribute("viewBox", `${-margin} ${-margin} ${width} ${height}`);
      drawing.replaceChildren(rectangle("map", 0, 0, map.columns, map.rows));
      let inside = 0;
      for (const down of [-rate, 0, rate]) {
        for (const right of [-rate, 0, rate]) {
          const [row, column] = [at[0] + down, at[1] + right];
          const hit = row >= 0 && row < map.rows && column >= 0 && column < map.columns;
          inside += hit;
          const [x, y] = [column + 0.5 - size / 2, row + 0.5 - size / 2];
          drawing.append(rectangle(hit ? "tap" : "tap beside", x, y, size, size));
        }
      }
      output.textContent = rate;
      caption.textContent =
        `${inside} of 9 taps fall on the map here. ` +
        `Averaged over all pixels of the map, ${map.mean[number].toFixed(1)} do.`;
    }

    drawing.addEventListener("click", (event) => {
      const map = data.maps[Number(select.value)];
      const point = new DOMPoint(event.clientX, event.clientY);
      const place = point.matrixTransform(drawing.getScreenCTM().inverse());
      const within = (value, length) => Math.min(length - 1, Math.max(0, Math.floor(value)));
      centre = [within(place.y, map.rows), within(place.x, map.columns)];
      show();
    });
    select.addEventListener("change", () => {
      centre = null;
      show();
    });
    range.addEventListener("input", show);
    show();
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("figure.slider:not(#rates)").forEach(setUp);
    document.querySelectorAll("figure#rates").forEach(setUpRates);
  });
})();
