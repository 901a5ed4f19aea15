/* A conversation as Markdown, for a file that people keep: the branch on screen, who said what, and the sources that were cited. Pure. */
import type { Message } from '../api/types.ts';

function sourcesOf(message: Message): string[] {
  return message.retrieved_docs
    .filter((doc) => doc.cited)
    .map((doc) => `[${doc.n}] ${[doc.title || doc.source_name, doc.heading !== doc.title && doc.heading, doc.uri].filter(Boolean).join(', ')}`);
}

/** `nameOf` says who gave an answer. */
export function transcript(title: string, messages: Message[], nameOf: (message: Message) => string): string {
  const parts = [`# ${title}`];
  for (const message of messages) {
    parts.push(`## ${message.sender === 'user' ? 'You' : nameOf(message)}`, message.content.trim());
    const sources = sourcesOf(message);
    if (sources.length > 0) parts.push(`Sources:\n${sources.map((s) => `- ${s}`).join('\n')}`);
  }
  return parts.join('\n\n') + '\n';
}

/** A name that every file system takes. */
export function fileName(title: string): string {
  const plain = title.replace(/[\u0000-\u001f\u007f/\\:*?"<>|]+/g, ' ').replace(/\s+/g, ' ').trim().replace(/^\.+/, '');
  return `${plain.slice(0, 80).trim() || 'conversation'}.md`;
}
