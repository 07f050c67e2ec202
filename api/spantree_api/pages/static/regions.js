// A page of regions: each is exchanged for its newer self when something changed, unless somebody is in it.
import { all, gathered, one, page } from "./dom.js";
import { follow } from "./live.js";

for (const place of all("[data-follow]")) {
  const look = gathered(async () => {
    try {
      const found = await page(location.href);
      for (const region of all("[data-region]", place)) {
        if (region.contains(document.activeElement)) continue;
        const newer = one(`[data-region="${region.dataset.region}"]`, found);
        const state = one("#live-state", region)?.cloneNode(true);
        if (!newer) continue;
        if (state) one("#live-state", newer)?.replaceWith(state);
        if (!region.isEqualNode(newer)) region.replaceWith(newer);
      }
      document.dispatchEvent(new CustomEvent("exchanged"));
    } catch (error) {
      tell(`not up to date: ${error.message}`);
    }
  }, 1500);
  follow(place.dataset.follow, look, tell);
}

function tell(text) {
  const state = one("#live-state");
  if (state) state.textContent = text === "live" ? "● live" : text;
}
