// A page of regions: each is exchanged for its newer self when something changed.
import { all, one, page, tellLive } from "./dom.js";
import { exchange } from "./exchange.js";
import { follow } from "./live.js";

for (const place of all("[data-follow]")) {
  follow(place.dataset.follow, async () => {
    const found = await page(location.href);
    for (const region of all("[data-region]")) exchange(region, one(`[data-region="${region.dataset.region}"]`, found));
  }, 1500, tellLive);
}
