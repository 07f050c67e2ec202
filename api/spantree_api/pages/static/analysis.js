// Has a failed execution analysed, and shows what is then kept.
import { all, change, one, own, page } from "./dom.js";
import { exchange } from "./exchange.js";
import { visible } from "./text.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-analyse]");
  if (!button) return;
  const buttons = all("[data-analyse]");
  for (const each of buttons) each.disabled = true;
  button.setAttribute("aria-busy", "true");
  one("#analysis-said").textContent = "";
  try {
    const path = own(`/api/v1/executions/${one("#execution").dataset.id}/analyze?by=${button.dataset.analyse}`);
    await change(path, "POST");
    exchange(one("#analysis"), one("#analysis", await page(location.pathname)));
  } catch (error) {
    one("#analysis-said").textContent = visible(error.message);
  }
  for (const each of all("[data-analyse]")) {
    each.disabled = false;
    each.removeAttribute("aria-busy");
  }
  one(`[data-analyse="${button.dataset.analyse}"]`)?.focus();
});
