/* The page's entry. */
import { render } from 'preact';
import { boot } from './state/session.ts';
import { App } from './ui/app.tsx';
import './style/base.css';
import './style/layout.css';
import './style/chat.css';
import './style/markdown.css';
import './style/settings.css';
import './style/learning.css';

render(<App />, document.getElementById('app')!);
void boot();
