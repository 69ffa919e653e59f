// A page in headless Chromium that is a client of `wsp listen --protocol feed`.
//
// usage: node chromium-feed.js BROWSER HOME URL FILTERS COUNT
//
// Answers the welcome by registering with FILTERS (JSON), in the shape that the welcome shows, waits for COUNT events and
// closes with 1000. Prints a line of JSON for each message as it comes, {"control": …} or {"event": …}, and at the end
// {"close": CODE}.

import { inPage } from "./browser.js";

const [executablePath, home, url, filters, count] = process.argv.slice(2);

// Runs inside the page.
const follow = ({ url, filters, count }) =>
  new Promise((resolve) => {
    const socket = new WebSocket(url);
    let registered = false;
    let events = 0;
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      console.log(JSON.stringify(registered ? { event: message } : { control: message }));
      if (registered) {
        events += 1;
      } else if (message.type === "welcome") {
        const register = message.format;
        Object.assign(register.filters, filters);
        socket.send(JSON.stringify(register));
      } else if (message.type === "registered") {
        registered = true;
      }
      if (registered && events === count) socket.close(1000, "enough");
    };
    socket.onclose = ({ code }) => resolve(code);
  });

await inPage(executablePath, home, async (tab) => {
  tab.on("console", (message) => console.log(message.text()));
  const close = await tab.evaluate(follow, { url, filters: JSON.parse(filters), count: Number(count) });
  console.log(JSON.stringify({ close }));
});
