/* Stands in for the package `entities` in the bundle (see build.mjs): the browser knows the named characters already,
 * and their table would be a quarter of the page. markdown-it passes single references such as `&eacute;`. */
const area = document.createElement('textarea');

export function decodeHTML(text: string): string {
  area.innerHTML = text; // a textarea's content is text: no element can come of it
  return area.value;
}
