// Makes, tries, silences, switches and takes away rules of alerts.
import { all, change, one, own } from "./dom.js";

const RULES = own("/api/v1/alerts/rules");
const form = one("#make");
const fields = form.elements;

/** `call` while no button can be pressed; what it throws is said. */
async function alone(buttons, said, call) {
  for (const button of buttons) button.disabled = true;
  said.textContent = "";
  try {
    said.textContent = (await call()) ?? "";
  } catch (error) {
    said.textContent = error.message;
  }
  for (const button of buttons) button.disabled = false;
}

const CHANGES = {
  on: () => ({ enabled: true }),
  off: () => ({ enabled: false }),
  silence: ({ hours }) => ({ silenced_until: +hours ? new Date(Date.now() + hours * 3600e3).toISOString() : null }),
};

for (const button of all("[data-do]")) {
  const { rule, name } = button.dataset;
  button.onclick = () => alone(all(`[data-rule="${rule}"]`), one("#rule-said"), async () => {
    if (button.dataset.do === "test") {
      const { delivered, answer_status, error } = await change(`${RULES}/${rule}/test`, "POST");
      return delivered ? `The test was taken: ${answer_status}.` : `The test was not taken: ${error ?? answer_status}.`;
    }
    if (button.dataset.do === "delete") {
      if (!confirm(`Take the rule “${name}” away? Messages that wait are dropped.`)) return "";
      await change(`${RULES}/${rule}`, "DELETE");
    } else await change(`${RULES}/${rule}`, "PATCH", CHANGES[button.dataset.do](button.dataset));
    location.reload();
    return "";
  });
}

/** Show the fields that the kind has; others say nothing. */
function fit() {
  const has = fields.kind.selectedOptions[0].dataset.fields.split(" ");
  for (const label of all("[data-field]", form)) {
    label.hidden = !has.includes(label.dataset.field);
    one("input", label).disabled = label.hidden;
  }
}
fields.kind.onchange = fit;
fit();

const SCALES = { threshold: 0.01, window_s: 60 };
form.onsubmit = (event) => {
  event.preventDefault();
  alone(all("button", form), one("#make-said"), async () => {
    const filter = Object.fromEntries(["workflow", "service"].map((name) => [name, fields[name].value.trim() || null]));
    const body = { name: fields.name.value, kind: fields.kind.value, filter, webhook_url: fields.webhook_url.value, format: fields.format.value };
    for (const input of all("[data-field] input", form)) {
      if (!input.disabled && input.value) body[input.name] = +(input.value * (SCALES[input.name] ?? 1)).toFixed(9);
    }
    const { secret } = await change(RULES, "POST", body);
    form.reset();
    fit();
    return `The rule is made. Its messages are signed with ${secret}, which is not shown again. Load the page anew to see it.`;
  });
};
