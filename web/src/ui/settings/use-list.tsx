/* A paged list of the API, as the settings show it. */
import type { ComponentChildren, JSX } from 'preact';
import { useCallback, useEffect, useState } from 'preact/hooks';
import { get } from '../../api/client.ts';
import type { List } from '../../api/types.ts';

export interface ListState<T> {
  items: T[] | null;
  error: Error | null;
  hasMore: boolean;
  more: () => void;
  reload: () => void;
  setItems: (change: (items: T[]) => T[]) => void;
}

export function useList<T>(path: string): ListState<T> {
  const [items, setItems] = useState<T[] | null>(null);
  const [next, setNext] = useState<string | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const load = useCallback(
    (after: string | null): void => {
      const query = after ? `${path.includes('?') ? '&' : '?'}after=${encodeURIComponent(after)}` : '';
      get<List<T>>(path + query).then(
        (page) => {
          setError(null);
          setItems((before) => (after ? [...(before ?? []), ...page.data] : page.data));
          setNext(page.next);
        },
        (e: unknown) => setError(e instanceof Error ? e : new Error(String(e))),
      );
    },
    [path],
  );
  useEffect(() => load(null), [load]);
  return {
    items,
    error,
    hasMore: next !== null,
    more: () => load(next),
    reload: () => load(null),
    setItems: (change) => setItems((before) => change(before ?? [])),
  };
}

/** Rows, or why there are none. */
export function ListView<T>(props: { list: ListState<T>; empty: string; row: (item: T) => ComponentChildren }): JSX.Element {
  const { list, empty, row } = props;
  if (list.error) {
    return (
      <p class="form-error" role="alert">
        {list.error.message}{' '}
        <button type="button" class="link" onClick={list.reload}>
          Try again
        </button>
      </p>
    );
  }
  if (!list.items) return <p class="hint">Loading…</p>;
  if (list.items.length === 0) return <p class="hint">{empty}</p>;
  return (
    <>
      <ul class="rows">{list.items.map(row)}</ul>
      {list.hasMore && (
        <button type="button" class="button quiet wide" onClick={list.more}>
          Show more
        </button>
      )}
    </>
  );
}
