// The embedding: background cells drawn once, the item's cells on top of them. Points come as packed little-endian numbers.
"use strict";
(() => {
  const XY_BYTES = 8, TERM_BYTES = 2;
  let background = null;   // {url, xy: Float32Array}
  let wanted = 0;          // the last request; an answer to an earlier one is left alone

  async function numbers(url) {
    const answer = await fetch(url, {credentials: "same-origin"});
    if (!answer.ok) throw new Error(`${answer.status}`);
    return answer.arrayBuffer();
  }

  const floats = (buffer, bytes) => {
    const view = new DataView(buffer, 0, bytes), found = new Float32Array(bytes / 4);
    for (let i = 0; i < found.length; i++) found[i] = view.getFloat32(4 * i, true);
    return found;
  };

  async function show(canvas) {
    const mine = ++wanted;
    try {
      const [, item] = await Promise.all([
        (async () => {
          if (background === null) {
            const buffer = await numbers(canvas.dataset.points);
            const n = buffer.byteLength / (XY_BYTES + TERM_BYTES);
            background = floats(buffer, n * XY_BYTES);
          }
        })(),
        numbers(canvas.dataset.itemPoints),
      ]);
      if (mine !== wanted || !canvas.isConnected) return;
      canvas.itemPoints = floats(item, item.byteLength);
      draw(canvas);
      canvas.dataset.drawn = String(canvas.itemPoints.length / 2);
    } catch (error) {
      if (mine === wanted) canvas.dataset.failed = String(error.message);
    }
  }

  function limits(...sets) {
    const found = [Infinity, Infinity, -Infinity, -Infinity];
    for (const xy of sets) {
      for (let i = 0; i + 1 < xy.length; i += 2) {
        if (!Number.isFinite(xy[i]) || !Number.isFinite(xy[i + 1])) continue;
        found[0] = Math.min(found[0], xy[i]);
        found[1] = Math.min(found[1], xy[i + 1]);
        found[2] = Math.max(found[2], xy[i]);
        found[3] = Math.max(found[3], xy[i + 1]);
      }
    }
    return found;
  }

  function draw(canvas) {
    if (!canvas.itemPoints || background === null) return;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const [left, low, right, high] = limits(background, canvas.itemPoints);
    if (!(right >= left)) return;
    const pad = 12, scale = Math.min((width - 2 * pad) / (right - left || 1), (height - 2 * pad) / (high - low || 1));
    const x = (value) => width / 2 + (value - (left + right) / 2) * scale;
    const y = (value) => height / 2 - (value - (low + high) / 2) * scale;
    const dots = (xy, radius, fill) => {
      pen.fillStyle = fill;
      for (let i = 0; i + 1 < xy.length; i += 2) {
        if (!Number.isFinite(xy[i]) || !Number.isFinite(xy[i + 1])) continue;
        pen.beginPath();
        pen.arc(x(xy[i]), y(xy[i + 1]), radius, 0, 2 * Math.PI);
        pen.fill();
      }
    };
    const n = background.length / 2, m = canvas.itemPoints.length / 2;
    pen.globalAlpha = n > 5000 ? 0.35 : 0.75;
    dots(background, n > 20000 ? 0.8 : n > 2000 ? 1.2 : 1.9, "#aab3bd");
    pen.globalAlpha = 1;
    const named = () => names(canvas, pen, x, y, width, height, colour("--ink"));
    // Few cells are drawn over the names, so that none is hidden; many would hide the names.
    if (m <= 500) named();
    const radius = m > 5000 ? 1.3 : m > 500 ? 2 : m > 50 ? 2.6 : 4;
    if (m <= 5000) dots(canvas.itemPoints, radius + 1.3, "#ffffff");
    pen.globalAlpha = m > 500 ? 0.85 : 1;
    dots(canvas.itemPoints, radius, colour("--call"));
    pen.globalAlpha = 1;
    if (m > 500) named();
  }

  // Names of areas, the largest first; one that would lie on another is left out.
  function names(canvas, pen, x, y, width, height, ink) {
    pen.font = '11px system-ui, "Liberation Sans", sans-serif';
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const taken = [];
    for (const [px, py, label] of JSON.parse(canvas.dataset.labels)) {
      const text = label.length > 30 ? label.slice(0, 29) + "…" : label;
      const half = pen.measureText(text).width / 2 + 3;
      const cx = Math.min(Math.max(x(px), half), width - half), cy = Math.min(Math.max(y(py) - 11, 9), height - 9);
      const box = [cx - half, cy - 8, cx + half, cy + 8];
      if (taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
      taken.push(box);
      pen.lineWidth = 4;
      pen.lineJoin = "round";
      pen.strokeStyle = "rgba(255,255,255,.9)";
      pen.strokeText(text, cx, cy);
      pen.fillStyle = ink;
      pen.fillText(text, cx, cy);
    }
  }

  let waiting = 0;
  window.addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      const canvas = document.getElementById("embedding");
      if (canvas) draw(canvas);
    });
  });

  const look = () => {
    const canvas = document.getElementById("embedding");
    if (canvas && !canvas.dataset.asked) {
      canvas.dataset.asked = "yes";
      show(canvas);
    }
  };
  document.addEventListener("htmx:afterSwap", look);
  look();
})();
