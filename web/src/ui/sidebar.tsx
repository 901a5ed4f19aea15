/* The list of conversations: new, search, rename, archive, delete; and the account's menu at its foot. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Conversation } from '../api/types.ts';
import { chat, show, titleOf } from '../state/chats.ts';
import {
  conversations, hasMore, loadConversations, loadMore, loadState, query, search, shownStatus, showStatus,
} from '../state/conversations.ts';
import { conversationId, pathOf } from '../state/route.ts';
import { preferences, setPreference, signOut, user } from '../state/session.ts';
import { drawerOpen, reportError, settingsTab, shortcutsOpen, sidebarHidden } from '../state/ui.ts';
import { dayGroup, markHits, shortTime, snippetParts } from '../text/format.ts';
import { ConversationMenu } from './conversation-menu.tsx';
import { Icon, Mark } from './icons.tsx';
import { Menu, type MenuItem } from './menu.tsx';

const SEARCH_DELAY_MS = 200;

function SearchBox(): JSX.Element {
  const [words, setWords] = useState(query.value);
  const timer = useRef(0);
  const set = (value: string): void => {
    setWords(value);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => search(value), value ? SEARCH_DELAY_MS : 0);
  };
  return (
    <div class="search">
      <Icon name="search" />
      <input
        id="search"
        type="search"
        placeholder="Search conversations"
        aria-label="Search conversations"
        autocomplete="off"
        value={words}
        onInput={(e) => set(e.currentTarget.value)}
        onKeyDown={(e) => {
          if (e.key === 'Escape' && words) {
            e.stopPropagation();
            set('');
          }
        }}
      />
    </div>
  );
}

function Marked({ parts }: { parts: { text: string; hit: boolean }[] }): JSX.Element {
  return <>{parts.map((part, i) => (part.hit ? <mark key={i}>{part.text}</mark> : part.text))}</>;
}

function Row({ conversation }: { conversation: Conversation }): JSX.Element {
  const id = conversation.conversation_id;
  const archived = conversation.status === 'archived';
  const current = conversationId.value === id;
  const title = titleOf(conversation);
  return (
    <li class={`conversation ${current ? 'current' : ''}`}>
      <a
        href={pathOf(id)}
        aria-current={current ? 'page' : undefined}
        title={title}
        onClick={(e) => {
          if (e.metaKey || e.ctrlKey || e.shiftKey) return;
          e.preventDefault();
          show(id, conversation.snippet_message_id ?? null);
        }}
      >
        <span class="conversation-title">
          <Marked parts={markHits(title, query.value)} />
        </span>
        {query.value.trim() !== '' && (
          <span class="conversation-snippet">
            {archived && <em>Archived · </em>}
            {conversation.snippet ? <Marked parts={snippetParts(conversation.snippet)} /> : shortTime(conversation.last_updated_at)}
          </span>
        )}
      </a>
      <ConversationMenu conversation={conversation} />
    </li>
  );
}

function groups(list: Conversation[]): [string, Conversation[]][] {
  if (query.value.trim() !== '') return list.length > 0 ? [['Found', list]] : [];
  const found = new Map<string, Conversation[]>();
  for (const conversation of list) {
    const name = dayGroup(conversation.last_updated_at);
    found.set(name, [...(found.get(name) ?? []), conversation]);
  }
  return [...found];
}

function EmptyList(): JSX.Element | null {
  if (loadState.value === 'failed') {
    return (
      <p class="list-empty">
        The list could not be loaded.{' '}
        <button type="button" class="link" onClick={() => void loadConversations()}>
          Try again
        </button>
      </p>
    );
  }
  if (loadState.value === 'loading') return null;
  if (query.value.trim()) return <p class="list-empty">Nothing found for “{query.value.trim()}”.</p>;
  return <p class="list-empty">{shownStatus.value === 'archived' ? 'Nothing is archived.' : 'Your conversations will be listed here.'}</p>;
}

function MoreButton(): JSX.Element | null {
  const ref = useRef<HTMLButtonElement>(null);
  const more = hasMore.value;
  useEffect(() => {
    if (!more || !ref.current) return;
    const seen = new IntersectionObserver((entries) => entries.some((e) => e.isIntersecting) && void loadMore());
    seen.observe(ref.current);
    return () => seen.disconnect();
  }, [more, conversations.value.length]);
  if (!more) return null;
  return (
    <button ref={ref} type="button" class="button quiet wide" onClick={() => void loadMore()} disabled={loadState.value === 'loading'}>
      {loadState.value === 'loading' ? 'Loading…' : 'Show more'}
    </button>
  );
}

function ConversationList(): JSX.Element {
  const list = conversations.value;
  const searching = query.value.trim() !== '';
  return (
    <nav class="conversations" aria-label="Conversations">
      {!searching && (
        <div class="segments" role="group" aria-label="Which conversations">
          {(['active', 'archived'] as const).map((which) => (
            <button key={which} type="button" aria-pressed={shownStatus.value === which} onClick={() => showStatus(which)}>
              {which === 'active' ? 'Active' : 'Archived'}
            </button>
          ))}
        </div>
      )}
      {list.length === 0 && <EmptyList />}
      {groups(list).map(([name, members]) => (
        <section key={name}>
          <h2>{name}</h2>
          <ul>
            {members.map((c) => (
              <Row key={c.conversation_id} conversation={c} />
            ))}
          </ul>
        </section>
      ))}
      <MoreButton />
    </nav>
  );
}

function AccountMenu(): JSX.Element | null {
  const account = user.value;
  if (!account) return null;
  const dark = isDark();
  const items: MenuItem[] = [
    { label: 'Settings', icon: 'settings', run: () => (settingsTab.value = 'account') },
    {
      label: dark ? 'Light theme' : 'Dark theme',
      icon: dark ? 'sun' : 'moon',
      run: () => void setPreference('theme', dark ? 'light' : 'dark').catch(reportError),
    },
    { label: 'Keyboard shortcuts', icon: 'keyboard', run: () => (shortcutsOpen.value = true) },
    { label: 'Sign out', icon: 'signOut', run: () => void signOut().catch(reportError) },
  ];
  return (
    <Menu label="Your account" class="account-button" items={items}>
      <span class="avatar" aria-hidden="true">
        {account.username.charAt(0).toUpperCase()}
      </span>
      <span class="account-name">
        {account.username}
        {account.is_admin && <small>Administrator</small>}
      </span>
    </Menu>
  );
}

function isDark(): boolean {
  const theme = preferences.value.theme;
  return theme === 'dark' || (theme === 'auto' && matchMedia('(prefers-color-scheme: dark)').matches);
}

export function Sidebar(): JSX.Element {
  const ref = useRef<HTMLElement>(null);
  const open = drawerOpen.value;
  useEffect(() => {
    if (!open) return;
    ref.current?.querySelector<HTMLElement>('.new-button')?.focus();
    return () => {
      if (ref.current?.contains(document.activeElement)) document.getElementById('drawer-button')?.focus();
    };
  }, [open]);
  return (
    <>
      {open && <div class="drawer-shade" onClick={() => (drawerOpen.value = false)} />}
      <aside
        ref={ref}
        id="sidebar"
        class={`sidebar ${open ? 'open' : ''} ${sidebarHidden.value ? 'hidden' : ''}`}
        aria-label="Conversations and account"
      >
        <div class="sidebar-head">
          <a
            class="brand"
            href="/"
            onClick={(e) => {
              e.preventDefault();
              show(null);
            }}
          >
            <Mark />
            Parley
          </a>
          <button
            type="button"
            class="icon-button wide-only"
            aria-label="Hide the sidebar"
            title="Hide the sidebar"
            onClick={() => (sidebarHidden.value = true)}
          >
            <Icon name="panel" />
          </button>
          <button type="button" class="icon-button narrow-only" aria-label="Close the list" onClick={() => (drawerOpen.value = false)}>
            <Icon name="close" />
          </button>
        </div>
        <button type="button" class="button new-button" aria-current={chat.value ? undefined : 'page'} onClick={() => show(null)}>
          <Icon name="plus" />
          New conversation
        </button>
        <SearchBox />
        <ConversationList />
        <div class="sidebar-foot">
          <AccountMenu />
        </div>
      </aside>
    </>
  );
}
