// Runs a traced function from `diabolo.engine.jaxpr.program` on arrays of numbers.
// Every value is a flat array in row-major order; the program holds its shape.
"use strict";

const Runtime = (() => {
  const size = (shape) => shape.reduce((a, b) => a * b, 1);

  const strides = (shape) => {
    const found = new Array(shape.length);
    for (let axis = shape.length - 1, step = 1; axis >= 0; step *= shape[axis--]) found[axis] = step;
    return found;
  };

  // Calls f(place, index) for every index of a shape, in order.
  const each = (shape, f) => {
    const index = new Array(shape.length).fill(0), n = size(shape);
    for (let place = 0; place < n; place++) {
      f(place, index);
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        if (++index[axis] < shape[axis]) break;
        index[axis] = 0;
      }
    }
  };

  // The power series near 0; elsewhere Abramowitz & Stegun's 7.1.26, with an error of 1.5e-7.
  const erf = (x) => {
    const a = Math.abs(x);
    if (a < 2) {
      let term = a, sum = a;
      for (let n = 1; n < 40; n++) { term *= -a * a / n; sum += term / (2 * n + 1); }
      return Math.sign(x) * 2 / Math.sqrt(Math.PI) * sum;
    }
    const t = 1 / (1 + 0.3275911 * a);
    const poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return Math.sign(x) * (1 - poly * Math.exp(-a * a));
  };

  // For x above 0: Stirling's series at x + 8, and the recurrence down to x.
  const lgamma = (x) => {
    let below = x;
    for (let i = 1; i < 8; i++) below *= x + i;
    const up = x + 8, s = 1 / (up * up);
    return (up - 0.5) * Math.log(up) - up + 0.5 * Math.log(2 * Math.PI) + (1 / 12 - s / 360 + s * s / 1260) / up - Math.log(below);
  };

  const halfToEven = (x) => {
    const down = Math.floor(x), rest = x - down;
    return rest < 0.5 || (rest === 0.5 && down % 2 === 0) ? down : down + 1;
  };

  const UNARY = {
    abs: Math.abs, ceil: Math.ceil, cos: Math.cos, erf, erfc: (x) => 1 - erf(x), exp: Math.exp, exp2: (x) => 2 ** x,
    expm1: Math.expm1, floor: Math.floor, is_finite: (x) => +Number.isFinite(x), lgamma, log: Math.log, log1p: Math.log1p,
    logistic: (x) => 1 / (1 + Math.exp(-x)), neg: (x) => -x, not: (x) => +!x, round: halfToEven,
    rsqrt: (x) => 1 / Math.sqrt(x), sign: Math.sign, sin: Math.sin, sqrt: Math.sqrt, square: (x) => x * x,
    tan: Math.tan, tanh: Math.tanh,
  };
  const BINARY = {
    add: (a, b) => a + b, and: (a, b) => +(a && b), atan2: Math.atan2, div: (a, b) => a / b, eq: (a, b) => +(a === b),
    ge: (a, b) => +(a >= b), gt: (a, b) => +(a > b), le: (a, b) => +(a <= b), lt: (a, b) => +(a < b), max: Math.max,
    min: Math.min, mul: (a, b) => a * b, ne: (a, b) => +(a !== b), or: (a, b) => +(a || b), pow: Math.pow,
    rem: (a, b) => a % b, sub: (a, b) => a - b,
  };
  const REDUCE = {
    reduce_sum: [0, BINARY.add], reduce_prod: [1, BINARY.mul], reduce_max: [-Infinity, Math.max],
    reduce_min: [Infinity, Math.min],
  };

  // Broadcast an array of one number.
  const at = (values) => (values.length === 1 ? () => values[0] : (i) => values[i]);

  const OPS = {
    reshape: ([x]) => x,
    convert: ([x], s) => Float32Array.from(x, s.kind === "b" ? (v) => +(v !== 0) : Math.trunc),
    integer_pow: ([x], s) => Float32Array.from(x, (v) => v ** s.y),
    clamp: ([low, x, high]) => {
      const l = at(low), h = at(high);
      return Float32Array.from(x, (v, i) => Math.min(Math.max(v, l(i)), h(i)));
    },
    select_n: ([which, ...cases], s, shape) => {
      const w = at(which), c = cases.map(at), out = new Float32Array(size(shape));
      for (let i = 0; i < out.length; i++) out[i] = c[w(i)](i);
      return out;
    },
    broadcast_in_dim: ([x], s, shape, from) => {
      const out = new Float32Array(size(shape)), step = strides(from);
      each(shape, (place, index) => {
        let source = 0;
        s.axes.forEach((axis, i) => { if (from[i] > 1) source += index[axis] * step[i]; });
        out[place] = x[source];
      });
      return out;
    },
    transpose: ([x], s, shape, from) => {
      const out = new Float32Array(x.length), step = strides(from), moved = s.axes.map((axis) => step[axis]);
      each(shape, (place, index) => {
        let source = 0;
        for (let i = 0; i < index.length; i++) source += index[i] * moved[i];
        out[place] = x[source];
      });
      return out;
    },
    gather: ([x, which], s, shape) => {
      const row = size(shape.slice(1)), out = new Float32Array(size(shape));
      which.forEach((from, to) => out.set(x.subarray(from * row, (from + 1) * row), to * row));
      return out;
    },
    rev: ([x], s, shape) => {
      const out = new Float32Array(x.length), step = strides(shape);
      each(shape, (place, index) => {
        let source = 0;
        index.forEach((i, axis) => { source += (s.axes.includes(axis) ? shape[axis] - 1 - i : i) * step[axis]; });
        out[place] = x[source];
      });
      return out;
    },
    slice: ([x], s, shape, from) => {
      const out = new Float32Array(size(shape)), step = strides(from);
      each(shape, (place, index) => {
        let source = 0;
        for (let i = 0; i < index.length; i++) source += (s.start[i] + index[i] * s.strides[i]) * step[i];
        out[place] = x[source];
      });
      return out;
    },
    concatenate: (xs, s, shape, ...froms) => {
      const out = new Float32Array(size(shape)), inner = size(shape.slice(s.axis + 1)), row = shape[s.axis] * inner;
      let offset = 0;
      xs.forEach((x, k) => {
        const width = froms[k][s.axis] * inner;
        for (let i = 0, n = size(shape.slice(0, s.axis)); i < n; i++)
          out.set(x.subarray(i * width, (i + 1) * width), i * row + offset);
        offset += width;
      });
      return out;
    },
    pad: ([x, fill], s, shape, from) => {
      const out = new Float32Array(size(shape)).fill(fill[0]), step = strides(shape);
      each(from, (place, index) => {
        let target = 0;
        for (let i = 0; i < index.length; i++) {
          const p = s.low[i] + index[i] * (s.inside[i] + 1);
          if (p < 0 || p >= shape[i]) return;
          target += p * step[i];
        }
        out[target] = x[place];
      });
      return out;
    },
    product: ([a, b], s, [batches, m, n], [, , k]) => {
      const out = new Float32Array(batches * m * n), row = new Float64Array(n);
      for (let r = 0; r < batches * m; r++) {
        const page = Math.floor(r / m) * k * n;
        row.fill(0);
        for (let i = 0; i < k; i++) {
          const v = a[r * k + i];
          if (v === 0) continue;
          for (let j = 0, from = page + i * n; j < n; j++) row[j] += v * b[from + j];
        }
        out.set(row, r * n);
      }
      return out;
    },
    convolve: ([x, kernel], s, [n, height, width, o], [, h, w, c], [kh, kw, ci]) => {
      const out = new Float32Array(n * height * width * o), each_out = o / s.groups, sum = new Float64Array(o);
      // The input index at a position of the window; -1 outside the input and between dilated inputs.
      const source = (place, step, low, apart, spread, limit) => {
        const p = place * s.strides[step] + apart * s.apart[step] - low;
        return p < 0 || p % spread || p / spread >= limit ? -1 : p / spread;
      };
      for (let image = 0; image < n; image++)
        for (let i = 0; i < height; i++)
          for (let j = 0; j < width; j++) {
            sum.fill(0);
            for (let p = 0; p < kh; p++) {
              const y = source(i, 0, s.low[0], p, s.spread[0], h);
              if (y < 0) continue;
              for (let q = 0; q < kw; q++) {
                const z = source(j, 1, s.low[1], q, s.spread[1], w);
                if (z < 0) continue;
                const from = ((image * h + y) * w + z) * c, weights = (p * kw + q) * ci * o;
                for (let channel = 0; channel < c; channel++) {
                  const v = x[from + channel], group = Math.floor(channel / ci);
                  const row = weights + (channel % ci) * o, first = group * each_out;
                  for (let k = first; k < first + each_out; k++) sum[k] += v * kernel[row + k];
                }
              }
            }
            out.set(sum, ((image * height + i) * width + j) * o);
          }
      return out;
    },
  };

  const apply = (step, inputs, shapes) => {
    const [shape, ...from] = shapes, { op } = step;
    if (op in OPS) return OPS[op](inputs, step, shape, ...from);
    const out = new Float32Array(size(shape));
    if (op in UNARY) return out.map((_, i) => UNARY[op](inputs[0][i]));
    if (op in BINARY) {
      const [a, b] = inputs.map(at);
      return out.map((_, i) => BINARY[op](a(i), b(i)));
    }
    const [start, f] = REDUCE[op], step_out = strides(shape);
    const found = new Float64Array(out.length).fill(start);
    each(from[0], (place, index) => {
      let target = 0, axis = 0;
      index.forEach((i, a) => { if (!step.axes.includes(a)) target += i * step_out[axis++]; });
      found[target] = f(found[target], inputs[0][place]);
    });
    return Float32Array.from(found);
  };

  // Returns a function from a program and its constants, which are concatenated in one array.
  return (program, numbers) => {
    const known = {};
    let start = 0;
    for (const id of program.constants) {
      known[id] = numbers.subarray(start, start += size(program.shapes[id]));
    }
    return (argument) => {
      const values = { ...known, [program.argument]: Float32Array.from(argument) };
      for (const step of program.steps) {
        const shapes = [...step.out, ...step.in].map((id) => program.shapes[id]);
        values[step.out[0]] = apply(step, step.in.map((id) => values[id]), shapes);
      }
      return values[program.result];
    };
  };
})();
