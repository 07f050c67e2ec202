// What came in, as text: no more of it is fetched than is shown.
import { ask, el } from "./dom.js";
import { visible } from "./text.js";

const MOST = 500_000;

/** The beginning of what the API answers: its text up to `most` characters, beyond which nothing is fetched. */
async function beginning(address, most) {
  const answer = await ask(address, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error((await answer.json().catch(() => null))?.error?.message ?? `the server answered ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { text, isWhole: true };
    text += value;
    if (text.length > most) {
      reader.cancel();
      return { text: text.slice(0, most), isWhole: false };
    }
  }
}

/** Show what `place` names, or why it cannot be. */
export async function showRaw(place) {
  try {
    const { text, isWhole } = await beginning(place.dataset.from, MOST);
    const told = isWhole ? JSON.stringify(JSON.parse(text), null, 2) : text;
    place.textContent = visible(told.slice(0, MOST));
    if (!isWhole || told.length > MOST) place.after(el("p", { class: "cut" }, "Cut: download it to see all of it."));
  } catch (error) {
    place.textContent = visible(error.message);
  }
}
