// What the gateway told this page about itself.

export const config = JSON.parse(document.querySelector('meta[name="darkroom"]').content);
