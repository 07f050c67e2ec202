// Opens, resolves and ignores a cause of failure.
import { all, one, own } from "./dom.js";

const form = one("#change");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = one("#change-said");
  for (const button of all("button", form)) button.disabled = true;
  try {
    const answer = await fetch(own(`/api/v1/failures/groups/${encodeURIComponent(form.dataset.group)}`), {
      method: "PATCH",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ state: event.submitter.value, note: form.elements.note.value || null }),
    });
    if (answer.ok) { location.reload(); return; }
    said.textContent = (await answer.json()).error.message;
  } catch (error) {
    said.textContent = error.message;
  }
  for (const button of all("button", form)) button.disabled = false;
});
