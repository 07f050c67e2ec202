// A browser has six connections to a server by HTTP/1.1, for all of its windows: streams of pages that are seen side by
// side leave some for everything else. What has no seat asks every few seconds.
import { stored } from "./chosen.js";

const SEATS = 4;
// Who does not say so again within this time has gone.
const KEPT_MS = 15000;
const me = Math.random().toString(36).slice(2);
let seat = null;
let renewal = null;

const keep = () => stored.set(seat, `${me} ${Date.now() + KEPT_MS}`);

/** Whether there is room for a stream of this page. */
export function takeSeat() {
  for (let number = 1; number <= SEATS; number += 1) {
    const [who, until] = (stored.get(`seat.${number}`) ?? "").split(" ");
    if (who && who !== me && until > Date.now()) continue;
    seat = `seat.${number}`;
    keep();
    clearInterval(renewal);
    renewal = setInterval(keep, KEPT_MS / 3);
    return true;
  }
  return false;
}

export function leaveSeat() {
  clearInterval(renewal);
  if (seat) stored.set(seat, "");
  seat = null;
}
