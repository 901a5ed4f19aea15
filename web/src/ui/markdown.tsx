/* Shows Markdown. Blocks that did not change keep their elements, so selections survive while an answer grows. */
import { Component, type JSX } from 'preact';
import { renderBlocks } from '../text/markdown.ts';
import { copyText } from '../text/copy.ts';
import { showSource } from './sources.tsx';

const COPIED_MS = 1500;

/* Buttons inside rendered Markdown are plain HTML: one listener serves them all. */
function onClick(event: JSX.TargetedMouseEvent<HTMLElement>): void {
  const cite = (event.target as Element).closest<HTMLButtonElement>('button[data-cite]');
  if (cite) showSource(cite, cite.dataset['cite'] ?? '');
  const button = (event.target as Element).closest<HTMLButtonElement>('button[data-copy]');
  const code = button?.closest('.code')?.querySelector('pre');
  if (!button || !code) return;
  void copyText(code.textContent ?? '').then((done) => {
    button.textContent = done ? 'Copied' : 'Press Ctrl+C';
    setTimeout(() => (button.textContent = 'Copy'), COPIED_MS);
  });
}

class Block extends Component<{ html: string }> {
  override shouldComponentUpdate(next: { html: string }): boolean {
    return next.html !== this.props.html;
  }

  override render(): JSX.Element {
    return <div class="block" dangerouslySetInnerHTML={{ __html: this.props.html }} />;
  }
}

/** passages: the numbers that "[1]" in the text may cite. */
export function Markdown({ text, passages }: { text: string; passages?: number[] | undefined }): JSX.Element {
  return (
    <div class="markdown" onClick={onClick}>
      {renderBlocks(text, passages).map((html, i) => (
        <Block key={i} html={html} />
      ))}
    </div>
  );
}
