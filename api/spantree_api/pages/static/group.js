// Opens, resolves and ignores a cause of failure.
import { all, change, one, own } from "./dom.js";

const form = one("#change");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = one("#change-said");
  for (const button of all("button", form)) button.disabled = true;
  try {
    await change(own(`/api/v1/failures/groups/${encodeURIComponent(form.dataset.group)}`), "PATCH", {
      state: event.submitter.value || null, note: form.elements.note.value,
    });
    location.reload();
    return;
  } catch (error) {
    said.textContent = error.message;
  }
  for (const button of all("button", form)) button.disabled = false;
});
