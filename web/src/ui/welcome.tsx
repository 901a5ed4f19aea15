/* The empty conversation: who is there to talk to, and how one could begin. */
import type { JSX } from 'preact';
import type { Role } from '../api/types.ts';
import { chooseNewRole, newRole } from '../state/chats.ts';
import { roles } from '../state/roles.ts';
import { user } from '../state/session.ts';
import { insertText } from './composer.tsx';

function RoleCard({ role, chosen }: { role: Role; chosen: boolean }): JSX.Element {
  return (
    <label class={`role-card ${chosen ? 'chosen' : ''}`}>
      <input type="radio" name="role" checked={chosen} onChange={() => chooseNewRole(role.role_id)} />
      <span class="role-name">{role.name}</span>
      <span class="role-description">{role.description}</span>
    </label>
  );
}

export function Welcome(): JSX.Element {
  const role = newRole.value;
  return (
    <div class="welcome">
      <h1>Hello{user.value ? `, ${user.value.username}` : ''}.</h1>
      <p class="welcome-lead">Whom would you like to talk to?</p>
      <fieldset class="role-cards">
        <legend class="visually-hidden">Assistant</legend>
        {roles.value.map((r) => (
          <RoleCard key={r.role_id} role={r} chosen={r.role_id === role?.role_id} />
        ))}
      </fieldset>
      {role && role.starter_questions.length > 0 && (
        <section class="starters" aria-label={`Ways to begin with ${role.name}`}>
          <h2>You could ask</h2>
          <ul>
            {role.starter_questions.map((question) => (
              <li key={question}>
                <button type="button" onClick={() => insertText(question)}>
                  {question}
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
    </div>
  );
}
