// Equations from the operations of a program: typeset in MathML, each symbol in its wire's colour, and with the numbers filled in.

const MATH = "http://www.w3.org/1998/Math/MathML";

function math(tag, ...children) {
  const node = document.createElementNS(MATH, tag);
  node.append(...children);
  return node;
}

// The quantity of the palette that a name belongs to: "f" for f, a_f and da_f; where a gradient came from for dy and dc_next.
function quantityOf(name) {
  if (name === "dy" || /^d\w+_last$/.test(name)) return "from_loss";
  if (/^d\w+_next$/.test(name)) return "from_future";
  const own = name.replace(/^d(?=.)/, "").replace(/^[am]_(?=\w$)/, "");
  return PALETTE[own] ? own : own.replace(/^tanh_/, "").split("_")[0];
}

const SUBSCRIPTS = { prev: "t−1" };

// What a name is written as: [d or nothing, letter or word, subscript].
function partsOf(name, gradient) {
  const bare = gradient ? name.slice(1) : name;
  if (/^tanh_\w$/.test(bare)) return [gradient ? "d" : "", `tanh ${bare.slice(5)}`, ""];
  const [base, ...rest] = bare.split("_");
  return [gradient ? "d" : "", base, rest.map(part => SUBSCRIPTS[part] || part).join(" ").replace("t−1 from", "t−1, from")];
}

// At the last step there is no future: what comes over the way to the next step is the loss of the final state.
let atLast = false;

const fromLast = name => (atLast && /^d\w+_next$/.test(name) ? name.replace("_next", "_last") : name);

function symbol(given, gradient) {
  const name = fromLast(given);
  const [d, base, sub] = partsOf(name, gradient);
  const letter = math("mi", base),
    whole = math("mrow", ...(d ? [math("mi", d)] : []), sub ? math("msub", letter, math("mtext", sub)) : letter);
  if (base.length > 1) letter.setAttribute("mathvariant", "normal");
  const colour = tint(quantityOf(name));
  if (colour) whole.style.color = colour;
  whole.setAttribute("data-symbol", name);
  return whole;
}

function text(given, gradient) {
  const name = fromLast(given);
  const [d, base, sub] = partsOf(name, gradient);
  return d + base + (sub ? `_${sub.replaceAll(" ", "_")}` : "");
}

const isGradient = (program, name) => name in program.backward || /^d\w+_next$/.test(name) || name === "dy";

// Precedences: a sum, a product, and what needs no brackets.
const SUM = 1,
  PRODUCT = 2,
  ATOM = 3;
const FUNCTIONS = { sigmoid: "σ", relu: "relu", maximum: "max", minimum: "min" };

// Walk an expression down to named operations. `build` makes the pieces: leaf(at), number(v), join(parts), apply(name, parts),
// bracket(part), power(part).
// `stops` says at which named operations; by default at all of them.
function expression(program, at, build, top = true, stops = () => true) {
  const [kind, ...args] = program.ops[at];
  const inner = k => expression(program, k, build, false, stops);
  const bracketed = (k, least) => {
    const [part, level] = inner(k);
    return level < least ? build.bracket(part) : part;
  };
  if (kind === "constant") return [build.number(args[0]), ATOM];
  if (!operands(program.ops[at]).length || kind === "dot" || (!top && program.names.has(at) && stops(at))) return [build.leaf(at), kind === "dot" ? PRODUCT : ATOM];
  switch (kind) {
    case "add":
      return [build.join(inner(args[0])[0], " + ", inner(args[1])[0]), SUM];
    case "subtract":
      return [build.join(inner(args[0])[0], " − ", bracketed(args[1], PRODUCT)), SUM];
    case "negative":
      return [build.join("−", bracketed(args[0], PRODUCT)), SUM];
    case "multiply":
      return [build.join(bracketed(args[0], PRODUCT), " · ", bracketed(args[1], PRODUCT)), PRODUCT];
    case "d_sigmoid":
      return [build.join(bracketed(args[0], ATOM), " · ", build.bracket(build.join(build.number(1), " − ", inner(args[0])[0]))), PRODUCT];
    case "d_tanh":
      return [build.join(build.number(1), " − ", build.power(bracketed(args[0], ATOM))), SUM];
    case "d_relu":
      return [build.join("[", inner(args[0])[0], " > 0]"), ATOM];
    case "greater":
      return [build.join("[", inner(args[0])[0], " > ", inner(args[1])[0], "]"), ATOM];
    case "normalise_forward":
      return [build.apply("LN", operands(program.ops[at]).map(k => inner(k)[0])), ATOM];
    case "normalise_backward":
      return [build.apply("LN⁻", [inner(args[1])[0]]), ATOM];
    default:
      return [build.apply(FUNCTIONS[kind] || kind, args.map(k => inner(k)[0])), ATOM];
  }
}

// A product with a weight: what is multiplied, the weight, its block of a gate, and whether it is transposed.
function productOf(program, at) {
  const [, name, transposed, ...rest] = program.ops[at];
  const vectors = rest.filter((_, k) => k % 2 === 0),
    blocks = rest.filter((_, k) => k % 2 === 1),
    whole = blocks.length === program.letters.length;
  const all = whole && vectors.every((v, k) => program.names.get(v) === `da_${program.letters[blocks[k]]}`);
  return { name, transposed, vectors, blocks, all };
}

function weightSymbol(program, name, block, transposed) {
  const [base, sub = ""] = name.split("_");
  const letter = program.letters.length > 1 && block !== undefined ? program.letters[block] || "" : "";
  const w = math("mi", base),
    whole = math("msub", w, math("mtext", sub + letter));
  return transposed ? math("msup", whole, math("mi", "T")) : whole;
}

function leafSymbol(program, at) {
  const name = program.names.get(at),
    op = program.ops[at];
  if (op[0] === "parameter") return op[1] === "b" || /_$/.test(op[1]) ? weightSymbol(program, op[1], op[2]) : symbol(op[1], false);
  if (op[0] !== "dot" || (name && !isGradient(program, name))) return symbol(name || op[1], name ? isGradient(program, name) : false);
  const { name: weight, transposed, vectors, blocks, all } = productOf(program, at);
  const parts = all ? [symbol("da", true)] : vectors.flatMap((v, k) => [...(k ? [math("mo", ",")] : []), build(program, v)]);
  const left = parts.length > 1 ? [math("mo", "("), ...parts, math("mo", ")")] : parts;
  return math("mrow", ...left, math("mspace"), weightSymbol(program, weight, blocks.length === 1 ? blocks[0] : undefined, transposed));
}

const build = (program, at) => typeset(program, at, false);

// MathML of an operation; a named one by what it is computed from if `top`.
function typeset(program, at, top = true) {
  const pieces = {
    leaf: k => leafSymbol(program, k),
    number: v => math("mn", String(v)),
    join: (...parts) => math("mrow", ...parts.map(p => (p === " · " ? thinSpace() : typeof p === "string" ? math("mo", p.trim()) : p))),
    apply: (name, parts) =>
      math("mrow", math("mi", name), math("mo", "("), ...parts.flatMap((p, k) => (k ? [math("mo", ","), p] : [p])), math("mo", ")")),
    bracket: part => math("mrow", math("mo", "("), part, math("mo", ")")),
    power: part => math("msup", part, math("mn", "2")),
  };
  if (top && program.ops[at][0] === "dot") return leafSymbol({ ...program, names: new Map([...program.names].filter(([k]) => k !== at)) }, at);
  return expression(program, at, pieces, top)[0];
}

function thinSpace() {
  const space = math("mspace");
  space.setAttribute("width", "0.22em");
  return space;
}

// The equation of a named quantity, ready for the page.
function equation(program, name) {
  const whole = math("math", symbol(name, isGradient(program, name)), math("mo", "="), typeset(program, program.at(name)));
  whole.setAttribute("display", "inline");
  return whole;
}

// The same with numbers: "0.31 · 0.52 + (−0.04)".
function filled(run, at, t, j) {
  const show = v => (v === undefined ? "?" : v < 0 ? `(−${fmt(-v)})` : fmt(v));
  const pieces = {
    leaf: k => show(run.value(k, t, j)),
    number: v => String(v),
    join: (...parts) => parts.join(""),
    apply: (name, parts) => `${name}(${parts.join(", ").replace(/^\((−[^()]*)\)$/, "$1")})`,
    bracket: part => `(${part})`,
    power: part => `${part}²`,
  };
  return expression(run.program, at, pieces, true, k => run.ready(k))[0];
}

// And in one line of text, for tips, labels and screen readers.
function written(program, at) {
  const pieces = {
    leaf: k => {
      const name = program.names.get(k),
        op = program.ops[k];
      if (op[0] === "dot" && !name) {
        const { name: weight, transposed, vectors, all } = productOf(program, k);
        return `${all ? "da" : vectors.map(v => text(program.names.get(v) || "…", isGradient(program, program.names.get(v) || ""))).join(", ")} ${weight}${transposed ? "ᵀ" : ""}`;
      }
      return name ? text(name, isGradient(program, name)) : op[1];
    },
    number: v => String(v),
    join: (...parts) => parts.join(""),
    apply: (name, parts) => `${name}(${parts.join(", ")})`,
    bracket: part => `(${part})`,
    power: part => `${part}²`,
  };
  return expression(program, at, pieces)[0];
}
