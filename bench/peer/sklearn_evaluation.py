"""The peer of bench/sklearn.ts: weighted k-NN and logistic regression by scikit-learn, on dumped features.

Takes one JSON argument {"folder", "ks", "temperature", "costs"} and prints {"knn", "logistic"}: top-1 in percent.
"""

import json
import os
import sys

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler


def main():
    request = json.loads(sys.argv[1])
    load = lambda name: np.load(os.path.join(request["folder"], name))
    bank, bank_labels = load("trainfeat.npy"), load("trainlabels.npy")
    queries, query_labels = load("testfeat.npy"), load("testlabels.npy")

    votes = lambda distances: np.exp((1 - distances) / request["temperature"])
    knn = []
    for k in request["ks"]:
        classifier = KNeighborsClassifier(k, weights=votes, metric="cosine", algorithm="brute")
        knn.append(100 * classifier.fit(bank, bank_labels).score(queries, query_labels))

    scaler = StandardScaler().fit(bank.astype(np.float64))
    x, y = scaler.transform(bank.astype(np.float64)), scaler.transform(queries.astype(np.float64))
    logistic = []
    for cost in request["costs"]:
        model = LogisticRegression(C=cost, tol=1e-3, max_iter=3000).fit(x, bank_labels)
        logistic.append(100 * model.score(y, query_labels))
    print(json.dumps({"knn": knn, "logistic": logistic}))


main()
