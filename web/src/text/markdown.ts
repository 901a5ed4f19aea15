/* Markdown to HTML that is safe to insert and lives under a strict Content-Security-Policy.
 *
 * Two walls: markdown-it passes no HTML through, and DOMPurify lets only the elements and attributes listed here
 * survive. No style attributes are made, images become links (no request leaves for another host), links open apart.
 * The text is cut into its top-level blocks, so that while an answer grows only its last block is replaced on the page. */
import DOMPurify from 'dompurify';
import MarkdownIt from 'markdown-it';
import { highlight } from './highlight.ts';

type Token = ReturnType<MarkdownIt['parse']>[number];

const md = new MarkdownIt('default', { html: false, linkify: true, breaks: false, typographer: false });
const escape = md.utils.escapeHtml;

md.validateLink = (url) => /^(https?:|mailto:|#|\/(?!\/))/i.test(url.trim());

md.renderer.rules['link_open'] = (tokens, at, options, _env, self) => {
  const token = tokens[at]!;
  token.attrSet('target', '_blank');
  token.attrSet('rel', 'noopener noreferrer nofollow');
  return self.renderToken(tokens, at, options);
};

md.renderer.rules['image'] = (tokens, at) => {
  const token = tokens[at]!;
  const label = escape(token.content || 'image');
  const address = escape(String(token.attrGet('src') ?? ''));
  return `<a href="${address}" class="image-link" target="_blank" rel="noopener noreferrer nofollow">${label}</a>`;
};

/* Column alignment comes as a style attribute, which the policy forbids: a class instead. */
for (const name of ['th_open', 'td_open']) {
  md.renderer.rules[name] = (tokens, at, options, _env, self) => {
    const token = tokens[at]!;
    const align = /text-align:(\w+)/.exec(String(token.attrGet('style') ?? ''))?.[1];
    token.attrs = align ? [['class', `align-${align}`]] : null;
    return self.renderToken(tokens, at, options);
  };
}
md.renderer.rules['table_open'] = () => '<div class="table-scroll" tabindex="0"><table>';
md.renderer.rules['table_close'] = () => '</table></div>';

/* "[2]" cites a passage, where there is one of that number; what looks like a link's text is left to links. */
md.inline.ruler.before('link', 'cite', (state, silent) => {
  const found = /^\[(\d{1,2})\](?![[(:])/.exec(state.src.slice(state.pos, state.pos + 5));
  const passages = (state.env as { passages?: number[] }).passages;
  if (!found || !passages?.includes(Number(found[1]))) return false;
  if (!silent) state.push('cite', '', 0).content = found[1]!;
  state.pos += found[0].length;
  return true;
});
md.renderer.rules['cite'] = (tokens, at) => {
  const n = tokens[at]!.content;
  return `<button type="button" class="cite" data-cite="${n}">[${n}]</button>`;
};

function codeBlock(token: Token): string {
  const language = token.info.trim().split(/\s+/)[0] ?? '';
  const body = highlight(token.content, language) ?? escape(token.content);
  return (
    `<div class="code"><div class="code-head"><span>${escape(language || 'text')}</span>` +
    '<button type="button" class="code-copy" data-copy="code">Copy</button></div>' +
    `<pre tabindex="0"><code class="hljs">${body}</code></pre></div>`
  );
}
md.renderer.rules['fence'] = (tokens, at) => codeBlock(tokens[at]!);
md.renderer.rules['code_block'] = (tokens, at) => codeBlock(tokens[at]!);

const ALLOWED_TAGS = (
  'p br hr h1 h2 h3 h4 h5 h6 strong em s del code pre blockquote ul ol li a div span button ' +
  'table thead tbody tr th td'
).split(' ');
const ALLOWED_ATTR = ['href', 'class', 'target', 'rel', 'type', 'start', 'tabindex', 'data-copy', 'data-cite'];

function purify(html: string): string {
  return DOMPurify.sanitize(html, { ALLOWED_TAGS, ALLOWED_ATTR, ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false });
}

/** The tokens of each top-level block. */
function blocksOf(tokens: Token[]): Token[][] {
  const blocks: Token[][] = [];
  let block: Token[] = [];
  for (const token of tokens) {
    block.push(token);
    if (token.level === 0 && token.nesting <= 0) {
      blocks.push(block);
      block = [];
    }
  }
  if (block.length > 0) blocks.push(block);
  return blocks;
}

/* What was rendered last, by its unpurified HTML: a growing answer repeats all but its last block. */
const purified = new Map<string, string>();
const PURIFIED_MAX = 500;

/** Safe HTML of each top-level block. `md` is parsed as a whole: link definitions reach across blocks. `passages`: the numbers that
 * can be cited. */
export function renderBlocks(text: string, passages: number[] = []): string[] {
  const env = { passages };
  return blocksOf(md.parse(text, env)).map((tokens) => {
    const html = md.renderer.render(tokens, md.options, env);
    let safe = purified.get(html);
    if (safe === undefined) {
      if (purified.size >= PURIFIED_MAX) purified.clear();
      safe = purify(html);
      purified.set(html, safe);
    }
    return safe;
  });
}
