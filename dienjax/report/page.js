// Draws the charts of the page. It is bundled with Vega, Vega-Lite and vega-embed, and is the only script there.
{
  // Colours are those of page.css, by name: what a theme or a printer changes there changes in a drawn chart too.
  const ink = "var(--ink)", soft = "var(--soft)", line = "var(--line)", grid = "var(--grid)";
  const config = {
    background: "transparent",
    font: getComputedStyle(document.body).fontFamily,
    view: { stroke: null },
    axis: {
      labelColor: soft, titleColor: ink, domainColor: line, tickColor: line, gridColor: grid,
      labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelPadding: 5, titlePadding: 8,
    },
    legend: {
      labelColor: ink, titleColor: ink, labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal",
      layout: { top: { direction: "vertical" } }, // two legends side by side are too wide for a phone
    },
    header: { labelColor: ink, titleColor: ink, labelFontSize: 12 },
    title: { color: ink, subtitleColor: soft, fontSize: 13, fontWeight: 600, anchor: "start" },
    point: { opacity: 1 },
    mark: { color: "var(--series-1)" },
    text: { color: ink },
    rule: { color: soft },
    range: { category: [1, 2, 3, 4, 5, 6, 7, 8].map((n) => `var(--series-${n})`) },
  };

  // Values go in as text; vega-tooltip's own table would make a picture of a field whose name is "image".
  const formatTooltip = (value) => {
    const table = document.createElement("table");
    for (const [name, text] of Object.entries(Object(value) === value ? value : { "": value })) {
      const row = table.insertRow();
      row.insertCell().textContent = name;
      row.insertCell().textContent = text;
    }
    return table.outerHTML;
  };

  const draw = async (figure) => {
    const spec = JSON.parse(figure.querySelector("script").textContent);
    const { view } = await vegaEmbed(figure.querySelector(".frame > div"), spec, {
      actions: false,
      ast: true, // expressions are interpreted: the page need not allow eval
      bind: figure.querySelector(".controls"),
      config,
      defaultStyle: false,
      renderer: "svg",
      tooltip: { disableDefaultStyle: true, formatTooltip },
    });
    // What is chosen may change a chart's height, which Vega knows after the run and gives the picture in the next one.
    const settle = async () => {
      await view.runAsync();
      await view.runAsync();
    };
    for (const type of ["input", "change", "click"]) figure.addEventListener(type, settle);
  };

  const drawAll = async () => {
    for (const figure of document.querySelectorAll("figure.chart")) {
      try {
        await draw(figure);
        figure.dataset.state = "drawn";
      } catch (error) {
        console.error(error);
        figure.dataset.state = "failed";
        figure.querySelector(".frame").textContent = `This chart could not be drawn: ${error.message}`;
      }
      await new Promise((next) => setTimeout(next)); // the page stays alive between two charts
    }
  };

  // What scrolls sideways can be reached, and so scrolled, by keyboard.
  const reachable = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  for (const frame of document.querySelectorAll(".frame")) reachable.observe(frame);

  // A chart as wide as its place measures that when the window's size changes; in a folded section it had none.
  const measure = () => dispatchEvent(new Event("resize"));
  document.addEventListener("toggle", measure, true);

  const unfold = () => {
    const section = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const details = section?.querySelector("details");
    if (details) details.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();

  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const details of folded) details.open = true;
    measure();
  });
  addEventListener("afterprint", () => {
    for (const details of folded) details.open = false;
  });

  drawAll();
}
