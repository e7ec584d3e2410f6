// What a test asks of a page in the browser; each function returns what is wrong.
const shown = (element) => element.checkVisibility({ visibilityProperty: true });
const name = (element) => `${element.tagName}.${element.className} ${element.textContent.trim().slice(0, 40)}`;

// WCAG 2.2: relative luminance, and the contrast of text with what is behind it.
const numbers = (color) => color.match(/[\d.]+/g).map(Number);
const luminance = (color) =>
  numbers(color).slice(0, 3).map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
const behind = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (numbers(color)[3] !== 0) return color;
  }
  return "rgb(255, 255, 255)";
};
const pale = () => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.textContent.trim() || !shown(element) || element.closest("svg")) continue;
    const [light, dark] = [luminance(getComputedStyle(element).color), luminance(behind(element))].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) found.push(`${contrast.toFixed(2)}: ${name(element)}`);
  }
  return found;
};

// Text that is cut off or lies over what is beside it; a difference and the table of the history scroll by themselves.
const wide = (scrolling) =>
  [...document.body.querySelectorAll("*")]
    .filter((one) => shown(one) && !one.closest("svg") && one.clientWidth && one.scrollWidth > one.clientWidth + 1)
    .filter((one) => !(scrolling && one.closest(".diff, .wide")))
    .map(name);

// Links to nowhere, ids that stand twice, levels of headings left out, header cells that head nothing.
const structure = () => {
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  const levels = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((one) => Number(one.tagName[1]));
  return [
    ...ids.filter((one, at) => ids.indexOf(one) !== at).map((one) => `twice: ${one}`),
    ...[...document.querySelectorAll("a")].filter((one) => document.getElementById(one.hash.slice(1)) === null).map(name),
    ...levels.filter((one, at) => one > (levels[at - 1] ?? 0) + 1).map((one) => `h${one} follows a higher level`),
    ...[...document.querySelectorAll("th:not([scope])")].map(name),
    ...[...document.querySelectorAll("[aria-labelledby]")].filter((one) => !document.getElementById(one.getAttribute("aria-labelledby"))).map(name),
    ...(document.documentElement.lang && document.title.trim() ? [] : ["no language or title"]),
  ];
};
