"""The pages: what the API answers, for a browser.

How a page comes to be:

    route (now.py, executions.py, ...)  asks the API in process (in_process.py), as any client would: no private way
    template (templates/*.html)         extends frame.html; macros.html has status, time, duration, execution lines
    module (static/*.js)                makes it live, virtual, quick: the list, the header and the failure report are
                                        there without

To add one: a route in a module of its topic, a template that extends `frame.html`, its router in `app.py`'s list, its
path in `NAVIGATION` (frame.py) where people start from it. Rules that hold everywhere:

* Every text is hostile. Templates escape, and `visible` shows control and bidi characters; scripts set `textContent`.
* No `style=`, no inline script, no request to elsewhere: Content-Security-Policy forbids them, tests count violations.
* Sizes, spaces and colours come from `tokens.css` alone.
* `<time>`, status and duration come from the macros, so that they read the same everywhere.
* Days are those of `zones.py`.
* What has `data-region` within `data-follow` is exchanged for its newer self when something changed (`regions.js`).
"""
