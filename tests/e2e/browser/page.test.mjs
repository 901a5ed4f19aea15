/* The page as a person uses it: one story, told in order on one page.
 *
 *   PARLEY_URL           where the program (or web/dev/mock.mjs) listens
 *   PARLEY_SETUP_TOKEN   the one-time token of a program without accounts
 *   PARLEY_UPSTREAM_LOG  JSON lines of what a scripted model was asked (tests/e2e/mock_upstream.py); without it a real
 *                        model answers, and what only a scripted one can prove is left out
 *   PARLEY_SUPERVISOR_PID  the program's own process, if its server may be killed
 *   PARLEY_ARTIFACTS     a folder for pictures of failures
 *
 * Nothing here sleeps: every step waits for what the page shows. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { keepPicture, openBrowser } from './driver.mjs';

const base = process.env.PARLEY_URL;
const token = process.env.PARLEY_SETUP_TOKEN;
const log = process.env.PARLEY_UPSTREAM_LOG;
assert.ok(base && token, 'PARLEY_URL and PARLEY_SETUP_TOKEN are needed');

const FIRST = 'My favourite harbour is Bergen and my cat is called Tuva. [words: 12]';
/** An answer that lasts until it is stopped. */
const LONG = 'Count slowly. [hold] [words: 400]';
const THIRD = 'What is my cat called? [words: 9]';

let browser, context, page, trespasses, excused;
let broken = false;

before(async () => {
  ({ browser, context, page, trespasses, excused } = await openBrowser(base));
});
after(() => browser?.close());

/** A step of the story: when one fails the rest cannot be told. */
function step(name, run) {
  test(name, async (t) => {
    if (broken) return t.skip('an earlier step failed');
    try {
      await run();
      assert.deepEqual(trespasses, []);
    } catch (error) {
      broken = true;
      await keepPicture(page, name);
      throw error;
    }
  });
}

const composer = () => page.getByRole('textbox', { name: 'Message', exact: true });
const answers = () => page.locator('.answer:not(.live)');
const questions = () => page.locator('.question .bubble');
const live = () => page.locator('.answer.live');
const row = (title) => page.locator('.conversation', { hasText: title });

async function count(locator, n) {
  await locator.nth(n - 1).waitFor();
  assert.equal(await locator.count(), n);
}

/** Sends and waits for the whole answer. */
async function ask(text) {
  const before = await answers().count();
  await composer().fill(text);
  await composer().press('Enter');
  await answers().nth(before).waitFor();
  await live().waitFor({ state: 'detached' });
}

async function conversationAction(title, action) {
  await row(title).hover();
  await row(title).getByRole('button', { name: /^Actions for/ }).click();
  await page.getByRole('menuitem', { name: action }).click();
}

/** The server process below the supervisor. */
function serverOf(supervisor) {
  const children = readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, 'utf8').trim().split(' ');
  const server = children.find((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[1] === 'server');
  return Number(server ?? assert.fail('the program has no server process'));
}

function promptsEndingWith(question) {
  const lines = readFileSync(log, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  return lines.map((line) => line.body?.messages ?? []).filter((messages) => messages.at(-1)?.content === question);
}

step('the setup link makes the administrator', async () => {
  await page.goto(`/#setup=${token}`);
  await page.getByLabel('User name').fill('ada');
  await page.getByLabel('E-mail').fill('ada@example.org');
  await page.getByLabel('Password').fill('correct horse battery');
  await page.getByRole('button', { name: 'Create the administrator' }).click();
  await page.getByRole('heading', { name: 'Hello, ada.' }).waitFor();
  assert.equal(new URL(page.url()).hash, '');
  if (log) return;
  // A small real model may never come to an end by itself.
  for (const { role_id } of (await (await page.request.get('/api/v1/roles')).json()).data) {
    assert.ok((await page.request.patch(`/api/v1/roles/${role_id}`, { data: { max_tokens: 64 } })).ok());
  }
});

step('the empty conversation shows roles and how to begin', async () => {
  for (const name of ['General Assistant', 'Travel Assistant', 'Medical Advisor', 'Code Helper']) {
    await page.getByRole('radio', { name: new RegExp(name) }).waitFor();
  }
  await page.getByRole('radio', { name: /Travel Assistant/ }).check();
  await page.getByLabel('Ways to begin with Travel Assistant').getByRole('button').first().click();
  await page.waitForFunction(() => document.getElementById('composer-input').value !== '');
  await page.getByRole('radio', { name: /General Assistant/ }).check();
});

step('three turns, and the third prompt holds the first question', async () => {
  await ask(FIRST);
  await page.waitForURL(/\/c\/[\w-]+$/);
  await ask('And what is a fjord? [words: 10]');
  await ask(THIRD);
  await count(questions(), 3);
  await count(answers(), 3);
  for (const answer of await answers().locator('.markdown').all()) assert.notEqual((await answer.textContent()).trim(), '');
  if (!log) return;
  const prompts = promptsEndingWith(THIRD);
  assert.ok(prompts.length >= 1, 'the model was never asked the third question');
  assert.equal(prompts[0][0].role, 'system');
  assert.ok(prompts[0].some((m) => m.role === 'user' && m.content === FIRST), 'the third prompt lacks the first question');
});

step('an answer is rendered, and what it smuggles stays text', async () => {
  if (!log) return;
  const answer = [
    '**Bold** and `code`.', '', '| a | b |', '|:--|--:|', '| 1 | 2 |', '', '```c', 'int main(void) { return 0; }', '```', '',
    '<img src=x onerror="document.title=1"><script>document.title=2</script>', '', '<javascript:alert(1)>',
  ].join('\n');
  await ask(`[say: ${answer}]`);
  const last = answers().last();
  await last.locator('strong', { hasText: 'Bold' }).waitFor();
  await last.locator('td.align-right', { hasText: '2' }).waitFor();
  await last.locator('pre .hljs-type, pre .hljs-keyword').first().waitFor(); // the colours come in a chunk of their own
  assert.equal(await last.locator('.markdown img, .markdown script, .markdown [style], .markdown a').count(), 0);
  assert.match(await last.locator('.markdown').textContent(), /<img src=x onerror/);
  assert.doesNotMatch(await page.title(), /^[12]$/);
});

step('another role takes over within the conversation', async () => {
  await page.getByRole('button', { name: /^Role: General Assistant/ }).click();
  await page.getByRole('menuitemradio', { name: /Code Helper/ }).click();
  await page.getByRole('button', { name: /^Role: Code Helper/ }).waitFor();
  await ask('Say hello. [words: 6]');
  assert.equal(await answers().last().locator('.answer-role').textContent(), 'Code Helper');
  assert.equal(await answers().first().locator('.answer-role').textContent(), 'General Assistant');
});

step('an answer is rated with a comment', async () => {
  const last = answers().last();
  await last.getByRole('button', { name: 'Good answer' }).click();
  await last.getByRole('textbox').fill('Short and friendly.');
  const save = (answer) => answer.getByRole('button', { name: 'Save', exact: true });
  await save(last).click();
  await save(last).waitFor({ state: 'detached' });
  const wrong = answers().first().getByRole('group', { name: 'Reasons' }).getByRole('button', { name: 'Wrong', exact: true });
  await answers().first().getByRole('button', { name: 'Bad answer' }).click();
  await wrong.click();
  await save(answers().first()).click();
  await save(answers().first()).waitFor({ state: 'detached' });
  await answers().first().getByRole('button', { name: 'Bad answer' }).click();
  assert.equal(await wrong.getAttribute('aria-pressed'), 'true');
  await answers().first().getByRole('button', { name: 'Withdraw rating' }).click();
  await answers().first().locator('[aria-label="Bad answer"][aria-pressed=true]').waitFor({ state: 'detached' });
});

step('after a reload everything is still there', async () => {
  const shown = async () => ({
    questions: await questions().allTextContents(),
    answers: (await answers().locator('.markdown').allTextContents()).map((text) => text.replace(/\s+/g, ' ')),
    roles: await answers().locator('.answer-role').allTextContents(),
  });
  const before = await shown();
  await composer().fill('an unsent draft');
  await page.reload();
  await answers().nth(before.answers.length - 1).waitFor();
  await page.getByRole('button', { name: /^Role: Code Helper/ }).waitFor();
  await page.waitForFunction((name) => [...document.querySelectorAll('.answer-role')].at(-1)?.textContent === name, before.roles.at(-1));
  assert.deepEqual(await shown(), before);
  assert.match(await page.locator('.top-title').textContent(), /\S/);
  assert.equal(await composer().inputValue(), 'an unsent draft');
  await composer().fill('');
  const good = answers().last().getByRole('button', { name: 'Good answer' });
  assert.equal(await good.getAttribute('aria-pressed'), 'true');
  await good.click();
  assert.equal(await answers().last().getByRole('textbox').inputValue(), 'Short and friendly.');
  await page.keyboard.press('Escape');
});

step('an edited question makes a branch, and both can be read', async () => {
  const last = questions().last();
  const old = await last.textContent();
  await last.hover();
  await page.locator('.question').last().getByRole('button', { name: 'Edit' }).click();
  await page.getByRole('textbox', { name: 'Edit the message' }).fill('Say goodbye instead. [words: 5]');
  await page.getByRole('button', { name: 'Send', exact: true }).first().click();
  await page.locator('.question', { hasText: 'Say goodbye' }).getByText('2/2').waitFor();
  await live().waitFor({ state: 'detached' });
  await page.locator('.question').last().getByRole('button', { name: 'Previous version' }).click();
  await page.locator('.bubble', { hasText: old }).waitFor();
  assert.equal(await page.locator('.bubble', { hasText: 'Say goodbye' }).count(), 0);
  await page.locator('.question').last().getByRole('button', { name: 'Next version' }).click();
  await page.locator('.bubble', { hasText: 'Say goodbye' }).waitFor();
});

step('an answer is made again beside the first', async () => {
  await answers().last().getByRole('button', { name: 'Regenerate' }).click();
  await answers().last().getByText('2/2').waitFor();
  await live().waitFor({ state: 'detached' });
});

step('a message that is too long is refused, and its text is not lost', async () => {
  const before = await questions().count();
  const long = 'The lake was calm in the morning. '.repeat(3000).trim();
  excused.refused = '/messages';
  await composer().fill(long);
  await composer().press('Enter');
  await page.getByRole('alert').getByText(/\d+ tokens/).waitFor();
  await page.waitForFunction((text) => document.getElementById('composer-input').value === text, long);
  assert.equal(await questions().count(), before);
  await composer().fill('');
  await ask('And a short one? [words: 3]');
  excused.refused = null; // the browser's words about it have come by now
  assert.equal(await page.locator('.problem').count(), 0);
});

step('stop ends an answer and keeps its text', async () => {
  if (!log) return; // only a scripted answer lasts for as long as it must
  await composer().fill(LONG);
  await composer().press('Enter');
  await live().locator('.markdown').waitFor();
  await page.getByRole('button', { name: 'Stop the answer' }).click();
  const stopped = page.locator('.answer[data-status=stopped]');
  await stopped.waitFor();
  assert.notEqual((await stopped.locator('.markdown').textContent()).trim(), '');
  await stopped.getByText('You stopped this answer.').waitFor();
});

step('a reload in the middle of an answer finds it again', async () => {
  if (!log) return; // only a scripted answer lasts for as long as it must
  await composer().fill(LONG);
  await composer().press('Enter');
  await live().locator('.markdown').waitFor();
  await page.reload();
  await live().locator('.markdown').waitFor();
  await composer().press('Escape'); // Esc stops, too
  await live().waitFor({ state: 'detached' });
  assert.equal(await answers().last().getAttribute('data-status'), 'stopped');
});

step('after a lost connection the page is back by itself', async () => {
  const before = await questions().count();
  excused.network = true;
  await context.setOffline(true);
  await composer().fill('Are you still there? [words: 7]');
  await composer().press('Enter');
  await page.getByText('Reconnecting…').waitFor();
  await context.setOffline(false);
  await page.getByText('Reconnecting…').waitFor({ state: 'detached' });
  await page.locator('.question:not(.pending) .bubble', { hasText: 'Are you still there?' }).waitFor();
  await live().waitFor({ state: 'detached' });
  excused.network = false;
  assert.equal(await questions().count(), before + 1);
  assert.equal(await answers().last().getAttribute('data-status'), 'complete');
});

step('the server is killed in the middle of an answer, and the page is back by itself', async () => {
  const supervisor = process.env.PARLEY_SUPERVISOR_PID;
  if (!supervisor) return;
  const before = await questions().count();
  await composer().fill(LONG);
  await composer().press('Enter');
  // Only the scripted answer is held: a real model may have had little to say before the blow.
  if (log) await live().locator('.markdown').waitFor();
  else await live().or(answers().nth(before)).first().waitFor();
  excused.network = true;
  const killed = serverOf(supervisor);
  const askedAgain = log && page.waitForResponse((r) => r.url().includes('/events') || /\/messages\/[\w-]+$/.test(r.url()));
  process.kill(killed, 'SIGKILL');
  await askedAgain;
  assert.ok((await page.request.get('/healthz', { maxRetries: 5 })).ok());
  await page.locator('.banner.reconnecting').waitFor({ state: 'detached' });
  assert.notEqual(serverOf(supervisor), killed);
  const stop = page.getByRole('button', { name: 'Stop the answer' });
  await stop.or(page.getByRole('button', { name: 'Send' })).first().waitFor();
  if (await stop.count()) await stop.click({ timeout: 5000 }).catch(() => undefined); // it may have ended meanwhile
  await live().waitFor({ state: 'detached' });
  excused.network = false;
  assert.equal(await questions().count(), before + 1);
  // Either it went on, or it says that it was interrupted and offers to begin again.
  assert.match(await answers().last().getAttribute('data-status'), /^(complete|stopped|interrupted)$/);
  await ask('And you still answer? [words: 5]');
});

step('conversations are renamed, searched, archived, restored and deleted', async () => {
  await page.getByRole('button', { name: 'Actions for this conversation' }).click();
  await page.getByRole('menuitem', { name: 'Rename' }).click();
  await page.getByRole('textbox', { name: 'Title' }).fill('Harbours and cats');
  await page.getByRole('button', { name: 'Rename' }).click();
  await row('Harbours and cats').waitFor();

  const [file] = await Promise.all([page.waitForEvent('download'), conversationAction('Harbours and cats', 'Save as a file')]);
  assert.equal(file.suggestedFilename(), 'Harbours and cats.md');
  assert.match(readFileSync(await file.path(), 'utf8'), /^# Harbours and cats\n\n## You\n\nMy favourite harbour is Bergen/);

  await page.getByRole('button', { name: 'New conversation' }).first().click();
  await ask('A second conversation about volcanoes. [words: 4]');
  await page.waitForFunction(() => document.querySelectorAll('.conversation').length === 2);

  const search = page.getByRole('searchbox', { name: 'Search conversations' });
  await search.fill('volcanoes');
  await page.waitForFunction(() => document.querySelectorAll('.conversation').length === 1);
  await page.locator('.conversation mark').first().waitFor();
  await search.fill('fjord');
  await row('Harbours and cats').locator('.conversation-snippet mark').first().waitFor();
  await search.fill('');
  await page.waitForFunction(() => document.querySelectorAll('.conversation').length === 2);

  await conversationAction('Harbours and cats', 'Archive');
  await row('Harbours and cats').waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Archived', exact: true }).click();
  await conversationAction('Harbours and cats', 'Restore');
  await row('Harbours and cats').waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Active', exact: true }).click();
  await row('Harbours and cats').waitFor();

  await page.locator('.conversation.current').hover();
  await page.locator('.conversation.current').getByRole('button').click();
  await page.getByRole('menuitem', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.waitForFunction(() => document.querySelectorAll('.conversation').length === 1);
  await page.getByRole('heading', { name: 'Hello, ada.' }).waitFor();
});

step('dark and light', async () => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.getByRole('button', { name: 'Your account' }).click();
  await page.getByRole('menuitem', { name: 'Dark theme' }).click();
  await page.locator('html[data-theme=dark]').waitFor();
  assert.notEqual(await ground(), light);
  await page.reload();
  await page.locator('html[data-theme=dark]').waitFor();
  await page.getByRole('button', { name: 'Your account' }).click();
  await page.getByRole('menuitem', { name: 'Light theme' }).click();
  await page.locator('html[data-theme=light]').waitFor();
  assert.equal(await ground(), light);
});

step('a turn with the keyboard alone', async () => {
  await composer().waitFor();
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await page.keyboard.press('Control+k');
  await page.waitForFunction(() => document.activeElement?.id === 'search');
  await page.keyboard.press('Tab'); // Active
  await page.keyboard.press('Tab'); // Archived
  await page.keyboard.press('Tab'); // the conversation
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/c\//);
  await answers().first().waitFor();
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press('i');
  await page.waitForFunction(() => document.activeElement?.id === 'composer-input');
  const before = await answers().count();
  await page.keyboard.type('By keyboard [words: 3]');
  await page.keyboard.press('Enter');
  await answers().nth(before).waitFor();
  await live().waitFor({ state: 'detached' });
  await page.waitForFunction(() => document.querySelector('[data-testid=announcer]')?.textContent?.startsWith('Answer:'));
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press('n');
  await page.getByRole('heading', { name: 'Hello, ada.' }).waitFor();
});

step('settings: a key is shown once, a role is changed, the ratings are listed', async () => {
  await page.getByRole('button', { name: 'Your account' }).click();
  await page.getByRole('menuitem', { name: 'Settings' }).click();
  const dialog = page.getByRole('dialog', { name: 'Settings' });
  await dialog.getByRole('tab', { name: 'API keys' }).click();
  await dialog.getByLabel('Name of a new key').fill('laptop');
  await dialog.getByRole('button', { name: 'Create key' }).click();
  assert.match(await dialog.locator('.key-line code').textContent(), /^parley_/);
  await dialog.getByRole('button', { name: 'Done' }).click();
  await dialog.getByRole('button', { name: 'Revoke' }).click();
  await page.getByRole('dialog', { name: 'Revoke this key?' }).getByRole('button', { name: 'Revoke' }).click();
  await dialog.getByText(/^Revoked /).waitFor();

  await dialog.getByRole('tab', { name: 'Documents' }).click();
  await dialog.getByLabel('Choose files').setInputFiles([
    { name: 'notes.md', mimeType: 'text/markdown', buffer: Buffer.from('# Ferries\n\nThe last ferry leaves at ten.\n') },
    { name: 'photo.png', mimeType: 'image/png', buffer: Buffer.from('\x89PNG\r\n\x1a\n\0\0\0\0', 'latin1') },
  ]);
  await dialog.locator('li', { hasText: 'notes.md' }).getByText(/1 passage/).waitFor();
  await dialog.locator('li', { hasText: 'photo.png' }).getByText('Failed').waitFor();
  await dialog.getByText(/This is a picture/).waitFor();
  await dialog.getByRole('button', { name: 'notes.md' }).click();
  await dialog.getByText('The last ferry leaves at ten.').waitFor();
  await dialog.getByRole('button', { name: 'Back' }).click();

  await dialog.getByRole('button', { name: 'Add source' }).click();
  await dialog.getByRole('textbox', { name: 'Address' }).fill('http://127.0.0.1:1/page');
  await dialog.locator('form').getByRole('button', { name: 'Add source' }).click();
  await dialog.getByText(/not of the open internet/).waitFor();

  await dialog.getByRole('button', { name: 'Add text' }).click();
  await dialog.getByLabel('Name').fill('harbour.txt');
  await dialog.getByLabel('Text', { exact: true }).fill('The harbour opens at six.');
  await dialog.getByRole('button', { name: 'Add document' }).click();
  await dialog.getByRole('button', { name: 'harbour.txt' }).click();
  await dialog.getByText('The harbour opens at six.').waitFor();

  await dialog.getByRole('tab', { name: 'Roles' }).click();
  await dialog.getByRole('button', { name: 'Travel Assistant', exact: true }).click();
  await dialog.getByLabel('System prompt').fill('You know every harbour.');
  const grounded = () => dialog.getByRole('switch', { name: /^Answers from documents only/ });
  await grounded().check();
  await dialog.getByLabel('New collection').fill('Harbours');
  await dialog.getByRole('button', { name: 'Add collection' }).click();
  await dialog.getByRole('switch', { name: /^Reads “Harbours”/ }).waitFor();
  await dialog.getByRole('button', { name: 'Save' }).click();
  await dialog.getByRole('button', { name: 'Travel Assistant', exact: true }).click();
  await grounded().waitFor();
  assert.equal(await grounded().isChecked(), true);
  await dialog.getByText('0 documents; only roles that are bound to it read it.').waitFor();
  assert.equal(await dialog.getByRole('switch', { name: /^Reads “Harbours”/ }).isChecked(), true);
  await grounded().uncheck();
  await dialog.getByRole('button', { name: 'Save' }).click();
  await dialog.getByRole('button', { name: 'Versions of Travel Assistant' }).click();
  await dialog.getByText('Version 2').waitFor();
  await dialog.getByText('You know every harbour.').waitFor();

  await dialog.getByRole('tab', { name: 'Feedback' }).click();
  await dialog.getByText('Short and friendly.').waitFor();
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
});

step('settings: answers are approved, variants tried, and what people think is plotted', async () => {
  await page.getByRole('button', { name: 'Your account' }).click();
  await page.getByRole('menuitem', { name: 'Settings' }).click();
  const dialog = page.getByRole('dialog', { name: 'Settings' });
  const pane = (name) => dialog.getByRole('group', { name: 'Part of learning' }).getByRole('button', { name }).click();
  const item = (text) => dialog.locator('.rows > li', { hasText: text });
  await dialog.getByRole('tab', { name: 'Learning' }).click();
  await dialog.getByRole('button', { name: 'Learn now' }).click();
  await page.getByText(/rated answers? that used documents/).first().waitFor();
  await dialog.getByRole('listitem').filter({ hasText: 'Not in use' }).waitFor();

  await pane('Answers');
  await dialog.getByRole('button', { name: 'Write one' }).click();
  await dialog.getByRole('textbox', { name: /^Question/ }).fill('When does the museum in Ulm open?');
  await dialog.getByRole('textbox', { name: /^Answer/ }).fill('At ten.');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await item('museum in Ulm').getByText('Approved', { exact: true }).waitFor();
  await item('museum in Ulm').getByRole('button', { name: 'Edit' }).click();
  await dialog.getByRole('textbox', { name: /^Answer/ }).fill('At eleven.');
  await dialog.getByRole('button', { name: 'Save' }).click();
  await item('museum in Ulm').getByText('At eleven.').waitFor();
  await item('museum in Ulm').getByRole('button', { name: 'Withdraw' }).click();
  await item('museum in Ulm').getByText('Withdrawn', { exact: true }).waitFor();

  await dialog.getByRole('spinbutton', { name: /^Days until an answer/ }).fill('90');
  const kept = page.waitForResponse((r) => r.url().endsWith('/api/v1/learning') && r.request().method() === 'PATCH');
  await dialog.getByRole('button', { name: 'Save' }).click();
  assert.equal((await (await kept).json()).answer_days, 90);

  await pane('Variants');
  await dialog.getByRole('button', { name: 'Try a variant' }).click();
  await dialog.getByRole('combobox', { name: 'Role' }).selectOption({ label: 'Medical Advisor' });
  await dialog.getByRole('textbox', { name: 'Name', exact: true }).fill('plain words');
  await dialog.getByRole('spinbutton', { name: 'Temperature' }).fill('0.3');
  await dialog.getByRole('button', { name: 'Try it' }).click();
  await item('plain words').getByText(/temperature 0.3/).waitFor();
  await item('The role as it is').getByText('not rated yet').waitFor();
  await item('plain words').getByRole('button', { name: 'Stop' }).click();
  await item('plain words').getByText('Stopped', { exact: true }).waitFor();

  await pane('Analytics');
  await dialog.getByRole('img', { name: /^All answers: / }).waitFor();
  const roles = dialog.getByRole('list', { name: 'Satisfaction by role' });
  await roles.getByRole('button').first().click();
  await dialog.locator('.days-plot figcaption', { hasText: await roles.getByRole('button').first().textContent() }).waitFor();
  await dialog.getByRole('heading', { name: 'Unanswered questions' }).waitFor();
  const csv = await dialog.getByRole('link', { name: 'satisfaction-by-role as CSV' }).getAttribute('href');
  assert.match(await (await page.request.get(csv)).text(), /^key,label,turns,rated,satisfaction/);
  await dialog.getByRole('button', { name: 'Never used' }).click();
  await page.setViewportSize({ width: 360, height: 740 });
  assert.equal(await dialog.locator('#settings-panel').evaluate((e) => e.scrollWidth - e.clientWidth), 0);
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
});

step('on a phone', async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  const wide = () => page.evaluate(() => document.documentElement.scrollWidth);
  assert.equal(await wide(), 360);
  await page.getByRole('button', { name: 'Show conversations' }).click();
  await row('Harbours and cats').getByRole('link').click();
  await answers().first().waitFor();
  await page.locator('.sidebar.open').waitFor({ state: 'detached' });
  assert.equal(await wide(), 360);
  const before = await answers().count();
  await composer().fill('From the phone [words: 8]');
  await page.getByRole('button', { name: 'Send' }).click();
  await answers().nth(before).waitFor();
  await live().waitFor({ state: 'detached' });
  assert.equal(await wide(), 360);
  await page.setViewportSize({ width: 1280, height: 800 });
});

step('another person signs up and sees nothing of the first', async () => {
  const address = new URL(page.url()).pathname;
  await page.getByRole('button', { name: 'Your account' }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await page.getByRole('button', { name: 'Create an account' }).click();
  await page.getByLabel('User name').fill('bob');
  await page.getByLabel('E-mail').fill('bob@example.org');
  await page.getByLabel('Password').fill('another long password');
  await page.getByRole('button', { name: 'Create account' }).click();
  await page.getByText('Your conversations will be listed here.').waitFor();
  assert.equal(await page.locator('.conversation').count(), 0);
  excused.missing = address.split('/').at(-1);
  await page.goto(address);
  await page.getByRole('heading', { name: 'There is no such conversation' }).waitFor();
  await page.getByRole('button', { name: 'Your account' }).click();
  await page.getByRole('menuitem', { name: 'Settings' }).click();
  await page.getByRole('tab', { name: 'Account' }).waitFor();
  assert.equal(await page.getByRole('tab', { name: 'People' }).count(), 0);
});

step('the first person signs in again and finds everything', async () => {
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Your account' }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.getByLabel('User name or e-mail').fill('ada@example.org');
  await page.getByLabel('Password').fill('correct horse battery');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await row('Harbours and cats').getByRole('link').click();
  await page.locator('.bubble', { hasText: 'my cat is called Tuva' }).waitFor();
});
