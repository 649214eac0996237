// Text whose contrast with what is behind it is below WCAG's 4.5 : 1, as "words: 3.9 colour on ground".
() => {
  const parse = (text) => {
    const [, body] = /\(([^)]*)\)/.exec(text);
    const [r, g, b, a = 1] = body.replace("srgb", "").split(/[\s,/]+/).filter(Boolean).map(Number);
    return text.startsWith("color(") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(parse(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [0, 0, 0, 1]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => {
      const part = value / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const words = walker.currentNode.nodeValue.trim();
    if (!words || !element.getClientRects().length || element.closest(":disabled, script")) continue;
    const under = ground(element);
    const text = over(parse(getComputedStyle(element).color), under);
    const [high, low] = [light(text), light(under)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) found.push(`${words.slice(0, 30)}: ${ratio.toFixed(2)} ${text.map(Math.round)} on ${under.map(Math.round)}`);
  }
  return [...new Set(found)];
}
