/* The whole page: who is signed in decides between the doors and the workspace. */
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { chat, openChat, show, titleOf } from '../state/chats.ts';
import { loadConversations } from '../state/conversations.ts';
import { loadRoles } from '../state/roles.ts';
import { conversationId } from '../state/route.ts';
import { preferences, user } from '../state/session.ts';
import { drawerOpen, reportError, sidebarHidden } from '../state/ui.ts';
import { Auth } from './auth.tsx';
import { Composer, focusComposer } from './composer.tsx';
import { ConversationMenu } from './conversation-menu.tsx';
import { ConfirmDialog, PromptDialog } from './dialog.tsx';
import { Icon } from './icons.tsx';
import { Banner, LiveRegion, Toasts, useStatusPolling } from './notices.tsx';
import { ShortcutsDialog, useShortcuts } from './shortcuts.tsx';
import { SettingsDialog } from './settings/dialog.tsx';
import { Sidebar } from './sidebar.tsx';
import { Thread } from './thread.tsx';
import { Welcome } from './welcome.tsx';

function Header(): JSX.Element {
  const conversation = chat.value?.conversation.value ?? null;
  return (
    <header class="top">
      <button
        type="button"
        id="drawer-button"
        class="icon-button narrow-only"
        aria-label="Show conversations"
        aria-expanded={drawerOpen.value}
        aria-controls="sidebar"
        onClick={() => (drawerOpen.value = true)}
      >
        <Icon name="menu" />
      </button>
      {sidebarHidden.value && (
        <button type="button" class="icon-button wide-only" aria-label="Show the sidebar" title="Show the sidebar" onClick={() => (sidebarHidden.value = false)}>
          <Icon name="panel" />
        </button>
      )}
      <p class="top-title">{conversation ? titleOf(conversation) : ''}</p>
      {conversation?.status === 'archived' && <span class="tag">Archived</span>}
      {conversation && <ConversationMenu conversation={conversation} label="Actions for this conversation" />}
      <span class="grow" />
      {conversation && (
        <button type="button" class="icon-button narrow-only" aria-label="New conversation" onClick={() => show(null)}>
          <Icon name="plus" />
        </button>
      )}
    </header>
  );
}

function Workspace(): JSX.Element {
  useShortcuts();
  const id = conversationId.value;
  const open = chat.value;
  useEffect(() => {
    loadRoles().catch(reportError);
    void loadConversations();
  }, []);
  useEffect(() => {
    if (id) openChat(id);
  }, [id]);
  useEffect(() => {
    const refresh = (): void => {
      if (document.hidden) return;
      void loadConversations();
      if (conversationId.value) openChat(conversationId.value);
    };
    document.addEventListener('visibilitychange', refresh);
    return () => document.removeEventListener('visibilitychange', refresh);
  }, []);
  return (
    <div class="workspace">
      <a
        class="skip-link"
        href="#composer-input"
        onClick={(e) => {
          e.preventDefault();
          focusComposer();
        }}
      >
        Skip to the message box
      </a>
      <Sidebar />
      <main class="main" id="main" inert={drawerOpen.value}>
        <Header />
        <Banner />
        {open ? (
          <Thread key={open.id} chat={open} />
        ) : (
          <div class="thread-frame">
            <div class="thread">{id === null && <Welcome />}</div>
          </div>
        )}
        <div class="composer-frame">
          <Composer />
          <p class="fine-print">A model’s answers can be wrong. Check what matters.</p>
        </div>
      </main>
      <SettingsDialog />
      <ShortcutsDialog />
      <ConfirmDialog />
      <PromptDialog />
    </div>
  );
}

function useDocument(): void {
  const theme = preferences.value.theme;
  const conversation = chat.value?.conversation.value ?? null;
  const title = user.value && conversation ? `${titleOf(conversation)} · Parley` : 'Parley';
  useEffect(() => {
    if (theme === 'auto') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = theme;
  }, [theme]);
  useEffect(() => {
    document.title = title;
  }, [title]);
}

export function App(): JSX.Element {
  useDocument();
  useStatusPolling();
  return (
    <>
      {user.value === undefined ? <Starting /> : user.value === null ? <Auth /> : <Workspace key={user.value.user_id} />}
      <LiveRegion />
      <Toasts />
    </>
  );
}

function Starting(): JSX.Element {
  return (
    <main class="starting" aria-busy="true">
      <Banner />
      <span class="visually-hidden">Parley is loading</span>
    </main>
  );
}
